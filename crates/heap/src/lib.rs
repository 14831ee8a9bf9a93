//! How much memory the C library keeps for itself.
//!
//! The GNU C library gives threads heaps of their own, up to eight for each processor core, and
//! what was once used in one of them stays there for others of it to use. A site's work moves from
//! thread to thread, so that each heap grows to what the largest piece of work needs.

/// Has all threads share a few heaps. To be called before there is a second thread. Does nothing
/// where the C library is another one.
pub fn share() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `mallopt` takes two numbers and touches no memory of ours; no other thread is
        // there yet that could be in the middle of an allocation.
        #[allow(unsafe_code, reason = "the C library offers no other way")]
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        }
    }
}

/// Heaps of the whole process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 1;
