//! Bytes that are held until there are enough of them.

/// Adds bytes to those that are held. Memory grows with what has come, and is
/// never more than `limit`, which the bytes must fit into.
pub(super) fn hold(held: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let length = held.len() + bytes.len();
    if length > held.capacity() {
        let room = (2 * length).min(limit.max(length));
        held.reserve_exact(room - held.len());
    }
    held.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_the_bytes_up_to_the_limit() {
        let mut held = Vec::new();
        for length in 1..=1000 {
            hold(&mut held, b"x", 1000);
            assert_eq!(held.len(), length);
            assert!(held.capacity() <= 1000.min(2 * length), "{length}");
        }
    }
}
