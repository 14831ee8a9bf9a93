//! Prints generated records as NDJSON: `cargo run -p node --example generate -- [PATIENTS] [SEED]`.
//! `scripts/check_generator.py` reads it.

use std::io::Write;

use node::demo::generator::{World, clinic_names};
use protocol::Timestamp;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().unwrap_or(1));
    let patients: u64 = arguments.next().unwrap_or(48);
    let seed = arguments.next().unwrap_or(1);
    let clinics = clinic_names(16);
    let world = World::new(seed, &clinics, Timestamp::from_millis(1_795_392_000_000));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for record in world.reference_records() {
        writeln!(out, "{record}")?;
    }
    for number in 0..patients {
        let clinic = (number % clinics.len() as u64) as usize;
        for record in world.patient(number, clinic).changes.iter().flatten() {
            writeln!(out, "{record}")?;
        }
    }
    out.flush()
}
