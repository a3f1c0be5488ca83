//! A session that is logged in: its commands, and as much of the answers as they need.
//!
//! Most of what a session moves are results, which are skipped by arithmetic: whole
//! packets in one loop that keeps nothing but the last sequence number.

use super::Unexpected;
use super::commands::{Commands, Kind};
use super::database::Database;
use super::packet::{Framing, Head};
use crate::protocol::Fact;

/// A session that is logged in, and in which nothing is compressed.
#[derive(Debug)]
pub(super) struct Open {
    commands: Commands,
    database: Database,
}

/// What a client's bytes come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More of them, or an answer.
    Wait,
    /// The end of the session.
    Quit,
    /// A change of user, whose packet has begun.
    Change(Head),
}

impl Open {
    pub(super) fn new(commands: Commands, is_tracked: bool) -> Self {
        Self {
            commands,
            database: Database::new(is_tracked),
        }
    }

    /// Takes what the client has sent.
    pub(super) fn client(
        &mut self,
        framing: &mut Framing,
        input: &mut &[u8],
        facts: &mut Vec<Fact>,
    ) -> Next {
        loop {
            if self.database.wants_client() {
                self.database.client_body(framing.body(input));
                if !framing.is_between() {
                    return Next::Wait;
                }
                self.database.client_end();
            }
            let Some(head) = framing.skip_to_head(input) else {
                return Next::Wait;
            };
            match self.commands.note(head) {
                Kind::Part | Kind::Unanswered => {}
                Kind::Command(command) => {
                    let is_clear = self.commands.is_answer_clear();
                    self.database.command(command, head.length, is_clear, facts);
                }
                Kind::Quit => return Next::Quit,
                Kind::Change => {
                    self.database.forget(facts);
                    return Next::Change(head);
                }
                // Its answer cannot be told from others; the end of the session can be.
                Kind::TangledChange => {
                    self.database.forget(facts);
                    facts.push(Fact::Unclear);
                }
            }
            framing.settle();
        }
    }

    /// Takes what the server has sent.
    pub(super) fn server(
        &mut self,
        framing: &mut Framing,
        input: &mut &[u8],
        facts: &mut Vec<Fact>,
    ) -> Result<(), Unexpected> {
        loop {
            if !input.is_empty() && !self.commands.is_asked() {
                return Err(Unexpected);
            }
            if self.database.wants_server_body() {
                let is_whole = framing.left() <= input.len();
                let body = framing.body(input);
                if !is_whole {
                    self.database.server_body(body);
                    return Ok(());
                }
                self.database.server_end(body, facts);
            }
            framing.body(input);
            if self.commands.is_answering()
                && !self.database.wants_server()
                && let Some(sequence) = framing.skip_whole(input)
            {
                self.commands.note_more(sequence);
            }
            let Some(head) = framing.skip_to_head(input) else {
                return Ok(());
            };
            let is_first = self.commands.note_answer(head);
            if self.database.wants_server() {
                self.database.answer(head, is_first, facts);
            }
            framing.settle();
        }
    }

    /// Whether the rest of the server's packet is wanted.
    pub(super) fn wants_server_body(&self) -> bool {
        self.database.wants_server_body()
    }

    /// Whether the rest of the client's packet is wanted.
    pub(super) fn wants_client_body(&self) -> bool {
        self.database.wants_client()
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory(&self) -> usize {
        self.database.memory()
    }
}
