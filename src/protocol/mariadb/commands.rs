//! Watches the commands of a session that is logged in, for those that change
//! the user or the database, or end it.
//!
//! A command begins with sequence number 0, but not every packet with that
//! number is one: a file that the client sends (LOAD DATA LOCAL) counts its
//! packets on, and from 255 to 0. Taking a line of it for a command would be
//! wrong, and so would passing over a command.
//!
//! Of answers, which are most of what a session moves, the heads are counted and
//! no more. So it is not known where one ends, and a part of it must not be taken
//! for the answer to a later command. What helps is that an answer begins with
//! the number behind its command's, 1 for most, and goes on counting: a packet
//! with number 1 is a new answer, unless the one before had 0.

use super::packet::{FULL, Head};

/// The command that changes the user.
const CHANGE_USER: u8 = 0x11;

/// The command that ends the session, which is nothing but its byte.
const QUIT: u8 = 0x01;

/// A whole packet of it, as it begins.
pub(super) const QUIT_HEAD: Head = Head {
    length: 1,
    sequence: 0,
    first: Some(QUIT),
};

/// The commands that have no answer: COM_STMT_SEND_LONG_DATA and COM_STMT_CLOSE.
const UNANSWERED: [u8; 2] = [0x18, 0x19];

/// What is known of the commands before.
#[derive(Debug)]
pub(super) struct Commands {
    before: Before,
    answer: Answer,
    /// The sequence number of the server's last packet.
    said: u8,
    /// The sequence number with which the answer to the last command begins.
    expected: u8,
}

/// What the client's last packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// The end of a command or of a file: sequence number 0 begins a command.
    Whole,
    /// A part of a command, which goes on in the next packet.
    PartOfCommand,
    /// A part of a file's packet, which goes on in the next one.
    PartOfFile,
    /// A packet of a file with sequence number 255: the file goes on with 0.
    Wrapping,
}

/// Whether the server still has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It has answered a change of user, and has nothing to say until the next command.
    Settled,
    /// It has begun to answer the last command.
    Begun,
    /// It has said nothing since the last command.
    Owed,
    /// A command was sent while it owed an answer, so nobody knows any more.
    Tangled,
}

/// What a packet of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes on with a command or a file.
    Part,
    /// It begins a command without an answer, which changes nothing that is looked at.
    Unanswered,
    /// It begins another command, with this byte.
    Command(u8),
    /// It ends the session.
    Quit,
    /// It changes the user, and its answer is the next thing that the server says.
    Change,
    /// It changes the user, and its answer cannot be told from others.
    TangledChange,
}

impl Commands {
    /// Those of a session whose client has just logged in.
    pub(super) fn after_login() -> Self {
        Self {
            answer: Answer::Begun,
            ..Self::after_change()
        }
    }

    /// Those of a session whose user has just changed, or has not.
    pub(super) fn after_change() -> Self {
        Self {
            before: Before::Whole,
            answer: Answer::Settled,
            said: 1,
            expected: 1,
        }
    }

    /// Takes note of a packet that the client has begun.
    pub(super) fn note(&mut self, head: Head) -> Kind {
        let begins = self.before == Before::Whole && head.sequence == 0;
        let is_command = begins || self.before == Before::PartOfCommand;
        self.before = match head.length {
            FULL if is_command => Before::PartOfCommand,
            FULL => Before::PartOfFile,
            _ if is_command => Before::Whole,
            // An empty packet ends a file, unless it ends a full one.
            0 if self.before != Before::PartOfFile => Before::Whole,
            _ if head.sequence == 255 => Before::Wrapping,
            _ => Before::Whole,
        };
        if is_command {
            self.expected = head.sequence.wrapping_add(1);
        }
        if begins {
            self.command(head)
        } else {
            Kind::Part
        }
    }

    fn command(&mut self, head: Head) -> Kind {
        let owed = self.answer;
        let unanswered = head.first.is_some_and(|first| UNANSWERED.contains(&first));
        self.answer = match owed {
            Answer::Settled | Answer::Begun if unanswered => Answer::Begun,
            // If this one is not over, its next packet looks like the first of another.
            Answer::Begun if self.said == 0 => Answer::Tangled,
            Answer::Settled | Answer::Begun => Answer::Owed,
            Answer::Owed if unanswered => Answer::Owed,
            Answer::Owed | Answer::Tangled => Answer::Tangled,
        };
        match head.first {
            _ if head == QUIT_HEAD => Kind::Quit,
            Some(CHANGE_USER) if self.answer == Answer::Tangled => Kind::TangledChange,
            Some(CHANGE_USER) => Kind::Change,
            _ if unanswered => Kind::Unanswered,
            first => Kind::Command(first.unwrap_or_default()),
        }
    }

    /// Whether the answer to the last command will be known from others.
    pub(super) fn is_answer_clear(&self) -> bool {
        self.answer == Answer::Owed
    }

    /// Whether the server may speak.
    pub(super) fn is_asked(&self) -> bool {
        self.answer != Answer::Settled
    }

    /// Whether of the server's packets only the last one's number matters.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.answer, Answer::Begun | Answer::Tangled)
    }

    /// Takes note of the last of some packets that the server has begun while it is answering.
    pub(super) fn note_more(&mut self, sequence: u8) {
        self.said = sequence;
    }

    /// Takes note of a packet that the server, which was asked, has begun. Says whether it is
    /// known to be the first of the answer to the last command.
    pub(super) fn note_answer(&mut self, head: Head) -> bool {
        let is_first = self.answer == Answer::Owed && head.sequence == self.expected;
        self.answer = match self.answer {
            // It goes on with the answer before.
            Answer::Owed if head.sequence != self.expected => Answer::Tangled,
            Answer::Owed | Answer::Begun | Answer::Settled => Answer::Begun,
            Answer::Tangled => Answer::Tangled,
        };
        self.said = head.sequence;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: u8 = 3;
    const CLOSE: u8 = 0x19;

    fn note(commands: &mut Commands, length: u32, sequence: u8, first: u8) -> Kind {
        commands.note(Head {
            length,
            sequence,
            first: (length > 0).then_some(first),
        })
    }

    fn change(commands: &mut Commands) -> Kind {
        note(commands, 30, 0, CHANGE_USER)
    }

    fn query(commands: &mut Commands) {
        assert_eq!(note(commands, 9, 0, QUERY), Kind::Command(QUERY));
    }

    /// The server begins its answer, as it should.
    fn answer(commands: &mut Commands) {
        let sequence = commands.expected;
        say(commands, sequence);
    }

    /// The server begins a packet.
    fn say(commands: &mut Commands, sequence: u8) {
        let head = Head {
            length: 7,
            sequence,
            first: Some(0),
        };
        assert!(commands.is_asked());
        commands.note_answer(head);
    }

    #[test]
    fn an_answer_that_goes_on_is_not_taken_for_another() {
        // 256 packets, so that the next one of the same answer has number 1.
        let mut commands = Commands::after_login();
        query(&mut commands);
        for sequence in (1..=255).chain([0]) {
            say(&mut commands, sequence);
        }
        assert_eq!(change(&mut commands), Kind::TangledChange);

        // A second command, before the first answer is over: what comes next may be either's.
        let mut commands = Commands::after_login();
        query(&mut commands);
        say(&mut commands, 1);
        query(&mut commands);
        say(&mut commands, 2);
        assert_eq!(change(&mut commands), Kind::TangledChange);

        // One more packet, and the next number is none that an answer begins with.
        let mut commands = Commands::after_login();
        query(&mut commands);
        for sequence in (1..=255).chain([0, 1]) {
            say(&mut commands, sequence);
        }
        assert_eq!(change(&mut commands), Kind::Change);
    }

    #[test]
    fn a_change_of_user_is_a_command_that_begins_with_its_byte() {
        let mut commands = Commands::after_login();
        assert_eq!(note(&mut commands, 0, 0, 0), Kind::Command(0));
        answer(&mut commands);
        query(&mut commands);
        answer(&mut commands);
        assert_eq!(change(&mut commands), Kind::Change);
    }

    #[test]
    fn what_goes_on_from_one_packet_to_the_next_is_one_command() {
        let mut commands = Commands::after_login();
        note(&mut commands, FULL, 0, QUERY);
        // A sequence number of 0 comes round in a command of 4 GiB.
        for sequence in (1..=255).chain([0]) {
            assert_eq!(note(&mut commands, FULL, sequence, CHANGE_USER), Kind::Part);
        }
        assert_eq!(note(&mut commands, 30, 0, CHANGE_USER), Kind::Part);
        answer(&mut commands);
        assert_eq!(change(&mut commands), Kind::Change);
    }

    #[test]
    fn a_command_that_ends_at_255_does_not_hide_the_next() {
        let mut commands = Commands::after_login();
        note(&mut commands, FULL, 0, QUERY);
        for sequence in 1..255 {
            note(&mut commands, FULL, sequence, QUERY);
        }
        note(&mut commands, 1, 255, QUERY);
        answer(&mut commands);
        say(&mut commands, 1);
        assert_eq!(change(&mut commands), Kind::Change);
    }

    #[test]
    fn a_file_whose_packets_are_counted_from_255_to_0_is_no_command() {
        let mut commands = Commands::after_login();
        query(&mut commands);
        answer(&mut commands);
        for sequence in (2..=255).chain(0..=255).chain(0..9) {
            assert_eq!(note(&mut commands, 9, sequence, CHANGE_USER), Kind::Part);
        }
        assert_eq!(note(&mut commands, 0, 9, 0), Kind::Part);
        answer(&mut commands);
        assert_eq!(change(&mut commands), Kind::Change);
    }

    #[test]
    fn an_empty_packet_ends_a_file_but_not_when_it_ends_a_full_one() {
        let mut commands = Commands::after_login();
        query(&mut commands);
        answer(&mut commands);
        note(&mut commands, FULL, 254, CHANGE_USER);
        note(&mut commands, 0, 255, 0);
        assert_eq!(change(&mut commands), Kind::Part);
        note(&mut commands, 9, 255, 0);
        note(&mut commands, 0, 0, 0);
        answer(&mut commands);
        assert_eq!(change(&mut commands), Kind::Change);

        let mut commands = Commands::after_login();
        query(&mut commands);
        answer(&mut commands);
        note(&mut commands, 9, 254, 0);
        note(&mut commands, 0, 255, 0);
        answer(&mut commands);
        assert_eq!(change(&mut commands), Kind::Change);
    }

    #[test]
    fn a_change_whose_answer_cannot_be_told_from_others_is_tangled() {
        let mut commands = Commands::after_login();
        query(&mut commands);
        assert_eq!(change(&mut commands), Kind::TangledChange);

        let mut commands = Commands::after_login();
        query(&mut commands);
        query(&mut commands);
        for _ in 0..2 {
            answer(&mut commands);
            assert_eq!(change(&mut commands), Kind::TangledChange);
        }
    }

    #[test]
    fn a_command_without_an_answer_leaves_none_owed() {
        let mut commands = Commands::after_login();
        assert_eq!(note(&mut commands, 5, 0, CLOSE), Kind::Unanswered);
        assert_eq!(note(&mut commands, 5, 0, CLOSE), Kind::Unanswered);
        query(&mut commands);
        assert_eq!(note(&mut commands, 5, 0, CLOSE), Kind::Unanswered);
        answer(&mut commands);
        assert_eq!(change(&mut commands), Kind::Change);

        let mut commands = Commands::after_login();
        query(&mut commands);
        note(&mut commands, 5, 0, CLOSE);
        assert_eq!(change(&mut commands), Kind::TangledChange);
    }

    #[test]
    fn a_server_that_says_more_after_a_change_of_user_has_not_answered_that() {
        assert!(!Commands::after_change().is_asked());
        for command in [QUERY, CLOSE] {
            let mut commands = Commands::after_change();
            note(&mut commands, 9, 0, command);
            answer(&mut commands);
        }
        assert_eq!(change(&mut Commands::after_change()), Kind::Change);
    }

    #[test]
    fn a_session_ends_with_a_command_of_one_byte() {
        for (length, sequence, expected) in [
            (1, 0, Kind::Quit),
            (2, 0, Kind::Command(QUIT)),
            (1, 1, Kind::Part),
        ] {
            let mut commands = Commands::after_login();
            assert_eq!(note(&mut commands, length, sequence, QUIT), expected);
        }
        // In the middle of a result, and without waiting for one.
        let mut commands = Commands::after_login();
        query(&mut commands);
        assert_eq!(note(&mut commands, 1, 0, QUIT), Kind::Quit);
        let mut commands = Commands::after_login();
        note(&mut commands, FULL, 0, QUERY);
        assert_eq!(note(&mut commands, 1, 1, QUIT), Kind::Part);
        assert_eq!(note(&mut commands, 1, 0, QUIT), Kind::Quit);
    }

    #[test]
    fn the_first_packet_of_an_answer_is_known_unless_it_is_tangled() {
        let head = |sequence| Head {
            length: 7,
            sequence,
            first: Some(0),
        };
        let mut commands = Commands::after_login();
        assert!(!commands.is_answer_clear() && commands.is_answering());
        query(&mut commands);
        assert!(commands.is_answer_clear() && !commands.is_answering());
        assert!(commands.note_answer(head(1)));
        assert!(!commands.note_answer(head(2)));
        assert!(!commands.is_answer_clear() && commands.is_answering());
        query(&mut commands);
        assert!(!commands.note_answer(head(3)));
        assert!(!commands.is_answer_clear());
        let mut commands = Commands::after_login();
        query(&mut commands);
        query(&mut commands);
        assert!(!commands.is_answer_clear());
        assert!(!commands.note_answer(head(1)));
    }
}
