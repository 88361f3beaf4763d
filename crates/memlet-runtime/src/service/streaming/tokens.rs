//! One-time tokens: each stands for something, once and not for long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;

use crate::service::new_id;
use crate::service::sandbox::internal;

/// A token that was not used by then never will be.
const LIFETIME: Duration = Duration::from_mins(1);
/// So many may wait to be used.
const MOST: usize = 1000;

/// What was promised under tokens.
#[derive(Debug)]
pub(super) struct Tokens<T>(Mutex<HashMap<String, (Instant, T)>>);

impl<T> Default for Tokens<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Tokens<T> {
    /// Makes a token for this.
    pub(super) fn insert(&self, promised: T) -> Result<String, Status> {
        self.insert_at(promised, Instant::now())
    }

    fn insert_at(&self, promised: T, now: Instant) -> Result<String, Status> {
        let token = new_id().map_err(|error| internal("no token can be drawn", &error))?;
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, (made, _)| now.duration_since(*made) < LIFETIME);
        if tokens.len() >= MOST {
            return Err(Status::resource_exhausted("too many streaming requests wait to be used"));
        }
        tokens.insert(token.clone(), (now, promised));
        Ok(token)
    }

    /// What the token stands for; from now on nothing.
    pub(super) fn take(&self, token: &str) -> Option<T> {
        self.take_at(token, Instant::now())
    }

    fn take_at(&self, token: &str, now: Instant) -> Option<T> {
        let (made, promised) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(token)?;
        (now.duration_since(made) < LIFETIME).then_some(promised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_and_for_a_minute() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let token = tokens.insert_at(1, now).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!((tokens.take_at(&token, now), tokens.take_at(&token, now)), (Some(1), None));
        let token = tokens.insert_at(2, now).unwrap();
        assert_eq!(tokens.take_at(&token, now + LIFETIME), None);
        for number in 0..MOST {
            tokens.insert_at(number, now).unwrap();
        }
        assert!(tokens.insert_at(0, now).is_err());
        assert!(tokens.insert_at(0, now + LIFETIME).is_ok(), "those that ran out make room");
    }
}
