//! The pair of keys that packets to this site are encrypted with (age, X25519).

use std::fmt;

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;

/// A pair of keys. The secret one never leaves the site's folder.
pub struct Key(Identity);

impl Key {
    /// A new pair. The library draws it from the system's own chance, as keys have to be.
    pub fn make() -> Key {
        Key(Identity::generate())
    }
    /// Reads what `secret` gave.
    pub fn read(text: &str) -> Option<Key> {
        text.trim().parse().ok().map(Key)
    }
    /// The secret key as text: the form of the `age` program.
    pub fn secret(&self) -> String {
        self.0.to_string().expose_secret().to_owned()
    }
    /// The public key as text.
    pub fn public(&self) -> String {
        self.0.to_public().to_string()
    }
    pub(super) fn identity(&self) -> &Identity {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public())
    }
}
