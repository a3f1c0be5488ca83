//! How much a request may cost before others have their turn.
//!
//! Rows say little of that: a filter may look at many values of each, and compare
//! each of them with many others. So what is done is counted while it is done,
//! in units of some 10 ns on a small machine.

/// What may be done at once: about two milliseconds of work. More of it leaves the
/// thread that answers everybody, and other threads look up after each such slice.
const SLICE: u64 = 150_000;

/// What the plain parts of a row cost, whatever is in it.
pub(super) const ROW: u64 = 100;

/// What a value costs that is made for a look into it.
pub(super) const VALUE: u64 = 8;

/// What it costs to compare a value with another one.
pub(super) const COMPARISON: u64 = 2;

/// How many bytes are compared or copied for one unit.
pub(super) const BYTES: usize = 32;

/// Counts work, and says when it must stop.
pub struct Meter<'a> {
    left: u64,
    /// Whether to go on after a slice.
    goes_on: &'a dyn Fn() -> bool,
}

/// The work has come to its limit, or no client waits for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl Meter<'static> {
    /// For work that must not take longer than a slice.
    #[must_use]
    pub fn one_slice() -> Self {
        Self::slices(&|| false)
    }

    /// Whether so much work is no more than a slice.
    #[must_use]
    pub fn fits_slice(units: u64) -> bool {
        units <= SLICE
    }
}

impl<'a> Meter<'a> {
    /// For work that goes on, slice by slice, as long as a function says so.
    #[must_use]
    pub fn slices(goes_on: &'a dyn Fn() -> bool) -> Self {
        Self {
            left: SLICE,
            goes_on,
        }
    }

    /// Counts work that is done, or is about to be.
    #[inline]
    pub fn spend(&mut self, units: u64) -> Result<(), Stopped> {
        match self.left.checked_sub(units) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.next_slice(),
        }
    }

    #[cold]
    fn next_slice(&mut self) -> Result<(), Stopped> {
        if (self.goes_on)() {
            self.left = SLICE;
            Ok(())
        } else {
            self.left = 0;
            Err(Stopped)
        }
    }

    /// Counts bytes that were copied or are compared.
    #[inline]
    pub fn spend_bytes(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.spend((bytes / BYTES) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn one_slice_is_one_and_of_others_each_is_asked_for() {
        let mut once = Meter::one_slice();
        assert_eq!(once.spend(SLICE), Ok(()));
        assert_eq!(once.spend(1), Err(Stopped));
        assert_eq!(once.spend(u64::MAX), Err(Stopped));

        let slices = Cell::new(0);
        let goes_on = || {
            slices.set(slices.get() + 1);
            slices.get() < 3
        };
        let mut meter = Meter::slices(&goes_on);
        let spent = (0..10).take_while(|_| meter.spend(SLICE / 2 + 1).is_ok());
        assert_eq!(spent.count(), 5);
        assert_eq!(slices.get(), 3);
    }
}
