//! Text from the network as a terminal may show it.
//!
//! A user's name may hold anything: escape sequences that move the cursor or
//! set the title, marks that turn the direction of a whole line, characters
//! that take two cells or none. What is not plainly visible becomes a question
//! mark, and everything is measured in cells of the screen, not in characters.
//! How wide a character is was taken from Unicode 14 (East Asian Width), with
//! ranges joined where they enclose nothing that is in use.

/// Stands where text has been cut off.
const CUT: char = '+';

/// More characters than that for a cell are cut off: marks that take no room
/// could be piled up without end.
const CHARACTERS_PER_CELL: usize = 4;

/// What is shown of a character.
pub(super) fn safe(c: char) -> char {
    if c.is_control() || is_invisible(c) {
        '?'
    } else {
        c
    }
}

/// What is shown of a text.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(safe).collect()
}

/// How many cells a text takes that is clean.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

/// Adds so many spaces.
pub(super) fn pad(text: &mut String, count: usize) {
    for _ in 0..count {
        text.push(' ');
    }
}

/// As much of a clean text as there is room for, and how many cells that takes.
pub(super) fn fit(text: &str, room: usize) -> (String, usize) {
    let most = room.saturating_mul(CHARACTERS_PER_CELL);
    if width(text) <= room && text.chars().count() <= most {
        return (text.to_owned(), width(text));
    }
    let mut fitting = String::new();
    let mut taken = 0;
    for c in text.chars().take(most) {
        // The mark takes one.
        if taken + cells(c) + 1 > room {
            break;
        }
        fitting.push(c);
        taken += cells(c);
    }
    if taken < room {
        fitting.push(CUT);
        taken += 1;
    }
    (fitting, taken)
}

/// Characters of the format category, separators of lines, fillers, and what
/// chooses the form of the character before: nobody sees them, and terminals
/// do not agree about their width.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2
        | 0x115f..=0x1160 | 0x17b4..=0x17b5 | 0x180b..=0x180f
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164
        | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb
        | 0x110bd | 0x110cd | 0x13430..=0x1345f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a
        | 0xe0000..=0xe0fff)
}

/// How many cells a character takes.
fn cells(c: char) -> usize {
    let code = u32::from(c);
    let is_in = |ranges: &[(u32, u32)]| {
        let after = ranges.partition_point(|(first, _)| *first <= code);
        after > 0 && code <= ranges[after - 1].1
    };
    match code {
        0x300.. if is_in(&MARKS) => 0,
        0x300.. if is_in(&WIDE) => 2,
        _ => 1,
    }
}

/// Marks on the character before.
#[rustfmt::skip]
static MARKS: [(u32, u32); 74] = [
    (0x300, 0x36f), (0x483, 0x489), (0x591, 0x5bd), (0x5bf, 0x5bf), (0x5c1, 0x5c2),
    (0x5c4, 0x5c5), (0x5c7, 0x5c7), (0x610, 0x61a), (0x64b, 0x65f), (0x670, 0x670),
    (0x6d6, 0x6e4), (0x6e7, 0x6e8), (0x6ea, 0x6ed), (0x8d3, 0x902), (0x93a, 0x93a),
    (0x93c, 0x93c), (0x941, 0x948), (0x94d, 0x94d), (0x951, 0x957), (0x962, 0x963),
    (0x981, 0x981), (0x9bc, 0x9bc), (0x9c1, 0x9c4), (0x9cd, 0x9cd), (0xa01, 0xa02),
    (0xa3c, 0xa3c), (0xa41, 0xa51), (0xa70, 0xa71), (0xa81, 0xa82), (0xabc, 0xabc),
    (0xac1, 0xac8), (0xacd, 0xacd), (0xb01, 0xb01), (0xb3c, 0xb3c), (0xb3f, 0xb3f),
    (0xb41, 0xb56), (0xb82, 0xb82), (0xbc0, 0xbc0), (0xbcd, 0xbcd), (0xc00, 0xc00),
    (0xc3e, 0xc40), (0xc46, 0xc56), (0xc81, 0xc81), (0xcbc, 0xcbc), (0xcbf, 0xcbf),
    (0xcc6, 0xcc6), (0xccc, 0xccd), (0xd00, 0xd01), (0xd41, 0xd44), (0xd4d, 0xd4d),
    (0xdca, 0xdca), (0xdd2, 0xdd6), (0xe31, 0xe31), (0xe34, 0xe3a), (0xe47, 0xe4e),
    (0xeb1, 0xeb1), (0xeb4, 0xebc), (0xec8, 0xecd), (0xf71, 0xf7e), (0xf80, 0xf87),
    (0xf8d, 0xfbc), (0x102d, 0x1030), (0x1032, 0x1037), (0x1039, 0x103a), (0x103d, 0x103e),
    (0x17b7, 0x17bd), (0x17c6, 0x17c6), (0x17c9, 0x17d3), (0x1ab0, 0x1aff), (0x1dc0, 0x1dff),
    (0x20d0, 0x20f0), (0x302a, 0x302d), (0x3099, 0x309a), (0xfe20, 0xfe2f),
];

/// East Asian wide and fullwidth characters, and pictures.
#[rustfmt::skip]
static WIDE: [(u32, u32); 81] = [
    (0x1100, 0x115e), (0x231a, 0x231b), (0x2329, 0x232a), (0x23e9, 0x23ec), (0x23f0, 0x23f0),
    (0x23f3, 0x23f3), (0x25fd, 0x25fe), (0x2614, 0x2615), (0x2648, 0x2653), (0x267f, 0x267f),
    (0x2693, 0x2693), (0x26a1, 0x26a1), (0x26aa, 0x26ab), (0x26bd, 0x26be), (0x26c4, 0x26c5),
    (0x26ce, 0x26ce), (0x26d4, 0x26d4), (0x26ea, 0x26ea), (0x26f2, 0x26f3), (0x26f5, 0x26f5),
    (0x26fa, 0x26fa), (0x26fd, 0x26fd), (0x2705, 0x2705), (0x270a, 0x270b), (0x2728, 0x2728),
    (0x274c, 0x274c), (0x274e, 0x274e), (0x2753, 0x2755), (0x2757, 0x2757), (0x2795, 0x2797),
    (0x27b0, 0x27b0), (0x27bf, 0x27bf), (0x2b1b, 0x2b1c), (0x2b50, 0x2b50), (0x2b55, 0x2b55),
    (0x2e80, 0x303e), (0x3041, 0x3247), (0x3250, 0x4dbf), (0x4e00, 0xa4cf), (0xa960, 0xa97f),
    (0xac00, 0xd7a3), (0xf900, 0xfaff), (0xfe10, 0xfe19), (0xfe30, 0xfe6f), (0xff01, 0xff60),
    (0xffe0, 0xffe6), (0x16fe0, 0x1b2ff), (0x1f004, 0x1f004), (0x1f0cf, 0x1f0cf),
    (0x1f18e, 0x1f18e), (0x1f191, 0x1f19a), (0x1f200, 0x1f320), (0x1f32d, 0x1f335),
    (0x1f337, 0x1f37c), (0x1f37e, 0x1f393), (0x1f3a0, 0x1f3ca), (0x1f3cf, 0x1f3d3),
    (0x1f3e0, 0x1f3f0), (0x1f3f4, 0x1f3f4), (0x1f3f8, 0x1f43e), (0x1f440, 0x1f440),
    (0x1f442, 0x1f4fc), (0x1f4ff, 0x1f53d), (0x1f54b, 0x1f54e), (0x1f550, 0x1f567),
    (0x1f57a, 0x1f57a), (0x1f595, 0x1f596), (0x1f5a4, 0x1f5a4), (0x1f5fb, 0x1f64f),
    (0x1f680, 0x1f6c5), (0x1f6cc, 0x1f6cc), (0x1f6d0, 0x1f6d2), (0x1f6d5, 0x1f6df),
    (0x1f6eb, 0x1f6ef), (0x1f6f4, 0x1f6ff), (0x1f7e0, 0x1f7ff), (0x1f90c, 0x1f93a),
    (0x1f93c, 0x1f945), (0x1f947, 0x1f9ff), (0x1fa70, 0x1faff), (0x20000, 0x3fffd),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_follow_is_not_shown() {
        assert_eq!(clean("\x1b[2J\x1b]0;title\x07"), "?[2J?]0;title?");
        assert_eq!(clean("a\nb\r\tc\x7f\u{9b}31m"), "a?b??c??31m");
        // Right-to-left override, zero-width joiner, byte order mark, a tag, a filler.
        let hidden = "\u{202e}\u{200d}\u{feff}\u{e0041}\u{3164}\u{2028}";
        assert_eq!(clean(hidden), "??????");
        assert_eq!(clean("Zoë 王小明 ภาษา 🙂"), "Zoë 王小明 ภาษา 🙂");
    }

    #[test]
    fn no_control_character_and_none_that_turns_a_line_is_shown() {
        let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        let directions = ['\u{61c}'].into_iter().chain('\u{200e}'..='\u{200f}');
        let lines = ('\u{2028}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        for c in controls.chain(directions).chain(lines) {
            assert_eq!(safe(c), '?', "{:x}", u32::from(c));
        }
    }

    #[test]
    fn width_is_counted_in_cells() {
        for (text, cells) in [
            ("", 0),
            ("app", 3),
            ("Zoë", 3),
            ("Zoe\u{308}", 3),
            ("王小明", 6),
            ("한글", 4),
            ("ﾃｽﾄ", 3),
            ("ＡＢ", 4),
            ("🙂", 2),
            ("ที่", 1),
        ] {
            assert_eq!(width(text), cells, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off_visibly_and_never_in_half() {
        let fitted = |text: &str, room| fit(text, room).0;
        assert_eq!(fitted("application", 11), "application");
        assert_eq!(fitted("application", 5), "appl+");
        assert_eq!(fitted("王小明", 6), "王小明");
        assert_eq!(fit("王小明", 5), ("王小+".to_owned(), 5));
        assert_eq!(fit("王小明", 4), ("王+".to_owned(), 3));
        assert_eq!(fitted("ab", 1), "+");
        assert_eq!(fitted("ab", 0), "");
        let piled = "e\u{301}".to_owned() + &"\u{301}".repeat(1000);
        assert!(fitted(&piled, 8).chars().count() <= 33);
    }
}
