//! How often each user asks: a bucket of tokens per user that fills at a steady rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Users that are kept in mind; beyond that, those whose buckets are full again are forgotten.
const MOST_USERS: usize = 4096;

/// The buckets of all users.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<String, Bucket>>);

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Rates {
    /// Takes a token of a user who may ask this often per second, and save up two seconds' worth; false where there is
    /// none.
    pub(super) fn take(&self, user: &str, per_second: u32, now: Instant) -> bool {
        let (rate, most) = (f64::from(per_second), f64::from(per_second) * 2.0);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(user) {
            if buckets.len() >= MOST_USERS {
                buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled).as_secs() < 2);
            }
            if buckets.len() >= MOST_USERS {
                return false;
            }
            buckets.insert(user.to_owned(), Bucket { tokens: most, filled: now });
        }
        let Some(bucket) = buckets.get_mut(user) else { return false };
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(most);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(rates: &Rates, user: &str, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| rates.take(user, 10, now)).count()
    }

    #[test]
    fn two_seconds_worth_may_be_saved_up_and_no_more() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(taken(&rates, "a", 100, start), 20);
        assert_eq!(taken(&rates, "a", 100, start + Duration::from_millis(500)), 5);
        assert_eq!(taken(&rates, "a", 100, start + Duration::from_mins(1)), 20);
        assert_eq!(taken(&rates, "b", 100, start), 20, "each user has a bucket");
    }

    #[test]
    fn idle_users_are_forgotten_for_new_ones() {
        let (rates, start) = (Rates::default(), Instant::now());
        for user in 0..MOST_USERS {
            assert!(rates.take(&user.to_string(), 10, start));
        }
        assert!(!rates.take("late", 10, start));
        assert!(rates.take("late", 10, start + Duration::from_secs(2)));
    }
}
