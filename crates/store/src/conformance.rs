//! One suite that every backend of [`crate::Store`] has to pass.
