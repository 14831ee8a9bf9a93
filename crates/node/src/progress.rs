//! Progress on the terminal for long work; silent where nobody looks.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `total` steps with rate and time left.
pub fn bar(total: u64, unit: &str) -> ProgressBar {
    let form =
        format!("{{msg}} [{{bar:30}}] {{pos}}/{{len}} {unit} {{per_sec}} {{elapsed}} left {{eta}}");
    let style = ProgressStyle::with_template(&form)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(total).with_style(style)
}

/// Something that turns while the amount of work is not known.
pub fn spinner(message: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_message(message.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// A bar over bytes.
pub fn bytes_bar(total: u64) -> ProgressBar {
    let form = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {elapsed} left {eta}";
    let style = ProgressStyle::with_template(form)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(total).with_style(style)
}
