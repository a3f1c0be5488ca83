//! How clients come in. Those of the unix socket, whose permissions say who they
//! may be, get their answers whatever those of TCP do: they have a share of
//! everything that is limited, and their turn comes first.

/// The kind of an admin connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    UnixSocket,
}

/// How many more there are for clients of the unix socket where those of TCP may have
/// so many: a fifth of all, and two at least.
pub(super) const fn kept_for_unix_socket(limit_of_tcp: usize) -> usize {
    let kept = limit_of_tcp.div_ceil(4);
    if kept < 2 { 2 } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_of_all_is_kept_at_least() {
        for limit in 1..10_000 {
            let kept = kept_for_unix_socket(limit);
            assert!(kept >= 2 && 8 * kept >= limit + kept, "{limit}");
        }
    }
}
