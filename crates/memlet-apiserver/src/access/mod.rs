//! Who asks, and what they may: authentication and authorization.

mod attributes;
mod authentication;
mod authorization;
pub(crate) mod certificate;
mod identity;
mod impersonation;
mod reviews;
mod rules;
mod token;

pub use identity::Identity;

pub(crate) use attributes::{Attributes, is_long_running};
pub(crate) use authentication::Presented;
pub(crate) use authorization::{authorize, is_public};
pub(crate) use reviews::{Review, created, read};
pub(crate) use token::{Bound, Claims, ISSUER, Reference, TokenKey};
