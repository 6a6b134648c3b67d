//! Device rules as an eBPF program for cgroup v2, instruction by instruction.
//!
//! The rules are a list over "everything denied", in which for each kind of access (read, write, mknod) the last rule
//! that speaks of the device decides. The program walks the list backwards with the accesses still undecided:
//!
//! ```text
//! allow rule matches   undecided &= !rule; none left → allowed
//! deny rule matches    undecided & rule   → denied
//! end of the list                         → denied
//! ```
//!
//! This is what a list written to `devices.allow` and `devices.deny` of v1 means, but for one case: v1 ignores a deny
//! for part of what a wildcard allows (`allow c 5:* rwm`, `deny c 5:1 rwm`), and this program obeys it.
//! See bpf(2) and `struct bpf_cgroup_dev_ctx` in linux/bpf.h.

use caisson_plan::step::cgroup::{DeviceKind, DeviceRule};

use crate::devices_v1::covers_all;

/// `BPF_DEVCG_ACC_MKNOD`, `_READ`, `_WRITE`
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const EVERY: u8 = MKNOD | READ | WRITE;

/// `BPF_DEVCG_DEV_BLOCK`, `_CHAR`
const BLOCK: u32 = 1;
const CHAR: u32 = 2;

// Operation codes of linux/bpf.h: class | size or operation | source.
const LOAD_U32: u8 = 0x61; // BPF_LDX | BPF_W | BPF_MEM
const MOVE: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const MOVE_VALUE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND_VALUE: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K: 32 bits wide
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_IF_NOT: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K: the value is not sign-extended
const JUMP_IF: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

// Registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1; // and scratch once the context is read
const TYPE: u8 = 2;
const UNDECIDED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program for a list of rules, as the kernel's 8-byte instructions.
pub(crate) fn program(rules: &[DeviceRule]) -> Vec<u8> {
    let mut code = Code::default();
    code.op(LOAD_U32, TYPE, CONTEXT, 0, 0);
    code.op(MOVE, UNDECIDED, TYPE, 0, 0);
    code.op(AND_VALUE, TYPE, 0, 0, 0xffff);
    code.op(SHIFT_RIGHT, UNDECIDED, 0, 0, 16);
    code.op(LOAD_U32, MAJOR, CONTEXT, 4, 0);
    code.op(LOAD_U32, MINOR, CONTEXT, 8, 0);
    for rule in rules.iter().rev() {
        code.rule(rule);
        if covers_all(rule) {
            // Nothing before it counts, and the verifier refuses code that cannot be reached.
            return code.bytes;
        }
    }
    code.answer(false);
    code.bytes
}

#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
}

impl Code {
    fn op(&mut self, code: u8, destination: u8, source: u8, offset: u16, value: u32) {
        // struct bpf_insn: the two registers share a byte, in the order of the machine's bit fields.
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        self.bytes.extend([code, registers]);
        self.bytes.extend(offset.to_ne_bytes());
        self.bytes.extend(value.to_ne_bytes());
    }

    fn answer(&mut self, allowed: bool) {
        self.op(MOVE_VALUE, RESULT, 0, 0, u32::from(allowed));
        self.op(EXIT, 0, 0, 0, 0);
    }

    fn rule(&mut self, rule: &DeviceRule) {
        let access = access(rule);
        if access == 0 {
            return;
        }
        // Each test jumps over the rest of the rule, whose length is known from its parts.
        let conditions: Vec<(u8, u32)> = conditions(rule);
        let verdict: u16 = match (access, rule.allow) {
            (EVERY, _) => 2,
            (_, true) => 4,
            (_, false) => 5,
        };
        let mut left = verdict;
        for _ in &conditions {
            left += 1;
        }
        for (register, value) in conditions {
            left -= 1;
            self.op(JUMP_IF_NOT, register, 0, left, value);
        }
        match (access, rule.allow) {
            (EVERY, allow) => self.answer(allow),
            (_, true) => {
                self.op(AND_VALUE, UNDECIDED, 0, 0, u32::from(EVERY & !access));
                self.op(JUMP_IF_NOT, UNDECIDED, 0, 2, 0);
                self.answer(true);
            }
            (_, false) => {
                self.op(MOVE, CONTEXT, UNDECIDED, 0, 0);
                self.op(AND_VALUE, CONTEXT, 0, 0, u32::from(access));
                self.op(JUMP_IF, CONTEXT, 0, 2, 0);
                self.answer(false);
            }
        }
    }
}

fn access(rule: &DeviceRule) -> u8 {
    let bit = |on, bit| if on { bit } else { 0 };
    bit(rule.mknod, MKNOD) | bit(rule.read, READ) | bit(rule.write, WRITE)
}

/// What must hold for the rule to speak of the device: register and value.
fn conditions(rule: &DeviceRule) -> Vec<(u8, u32)> {
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(BLOCK),
        DeviceKind::Char => Some(CHAR),
    };
    let all = [(TYPE, kind), (MAJOR, rule.major), (MINOR, rule.minor)];
    all.iter().filter_map(|(register, value)| value.map(|value| (*register, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: DeviceKind, numbers: (Option<u32>, Option<u32>), access: &str) -> DeviceRule {
        let has = |c| access.contains(c);
        let (major, minor) = numbers;
        DeviceRule { allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    /// Runs the program as the kernel would: the few operations it is made of, on 64-bit registers.
    fn run(program: &[u8], context: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut at = 0;
        for _ in 0..10_000 {
            let bytes = &program[at * 8..at * 8 + 8];
            let (destination, source) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
            let value = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let low = u32::try_from(registers[destination] & 0xffff_ffff).unwrap();
            at += 1;
            match bytes[0] {
                0x61 => registers[destination] = u64::from(context[offset / 4]),
                0xbf => registers[destination] = registers[source],
                0xb7 => registers[destination] = u64::from(value),
                0x54 => registers[destination] = u64::from(low & value),
                0x74 => registers[destination] = u64::from(low >> value),
                0x56 if low != value => at += offset,
                0x16 if low == value => at += offset,
                0x56 | 0x16 => {}
                0x95 => return registers[0],
                code => panic!("operation {code:#x} at {at}"),
            }
        }
        panic!("no end");
    }

    fn allowed(rules: &[DeviceRule], kind: u32, major: u32, minor: u32, access: u8) -> bool {
        run(&program(rules), [u32::from(access) << 16 | kind, major, minor]) == 1
    }

    #[test]
    fn no_rules_deny_everything() {
        assert!(!allowed(&[], CHAR, 1, 3, READ));
    }

    #[test]
    fn a_usual_list_allows_what_it_names() {
        let rules = [
            rule(false, DeviceKind::All, (None, None), "rwm"),
            rule(true, DeviceKind::Char, (None, None), "m"),
            rule(true, DeviceKind::Char, (Some(1), Some(3)), "rwm"),
            rule(true, DeviceKind::Char, (Some(136), None), "rwm"),
            rule(true, DeviceKind::Block, (Some(8), Some(0)), "r"),
        ];
        assert!(allowed(&rules, CHAR, 1, 3, EVERY));
        assert!(allowed(&rules, CHAR, 136, 77, READ | WRITE));
        assert!(allowed(&rules, CHAR, 9, 9, MKNOD));
        assert!(!allowed(&rules, CHAR, 9, 9, MKNOD | READ));
        assert!(!allowed(&rules, BLOCK, 9, 9, MKNOD));
        assert!(allowed(&rules, BLOCK, 8, 0, READ));
        assert!(!allowed(&rules, BLOCK, 8, 0, READ | WRITE));
        assert!(!allowed(&rules, BLOCK, 1, 3, READ));
    }

    #[test]
    fn accesses_may_be_allowed_by_different_rules() {
        let rules = [
            rule(true, DeviceKind::Char, (Some(5), None), "r"),
            rule(true, DeviceKind::Char, (None, Some(1)), "w"),
        ];
        assert!(allowed(&rules, CHAR, 5, 1, READ | WRITE));
        assert!(!allowed(&rules, CHAR, 5, 2, READ | WRITE));
        assert!(!allowed(&rules, CHAR, 5, 1, EVERY));
    }

    #[test]
    fn the_last_matching_rule_wins() {
        let everything = rule(true, DeviceKind::All, (None, None), "rwm");
        let no_write = rule(false, DeviceKind::Block, (None, None), "w");
        let one = rule(true, DeviceKind::Block, (Some(8), Some(u32::MAX)), "w");
        let rules = [everything.clone(), no_write.clone(), one];
        assert!(allowed(&rules, CHAR, 1, 1, EVERY));
        assert!(allowed(&rules, BLOCK, 8, 1, READ | MKNOD));
        assert!(!allowed(&rules, BLOCK, 8, 1, WRITE));
        assert!(allowed(&rules, BLOCK, 8, u32::MAX, EVERY));
        assert!(allowed(&[no_write, everything], BLOCK, 8, 1, WRITE));
    }

    #[test]
    fn nothing_unreachable_is_emitted() {
        let everything = rule(true, DeviceKind::All, (None, None), "rwm");
        let one = rule(true, DeviceKind::Char, (Some(1), Some(3)), "rwm");
        assert_eq!(program(&[one, everything.clone()]), program(&[everything]));
    }

    #[test]
    fn every_list_agrees_with_the_definition() {
        // All lists of three rules from a small set, against a direct reading of "the last that matches decides".
        let kinds = [DeviceKind::All, DeviceKind::Char];
        let mut set = Vec::new();
        for allow in [true, false] {
            for kind in kinds {
                for (numbers, access) in [
                    ((None, None), "rwm"),
                    ((Some(1), None), "r"),
                    ((Some(1), Some(3)), "rw"),
                    ((None, Some(3)), ""),
                ] {
                    set.push(rule(allow, kind, numbers, access));
                }
            }
        }
        for a in &set {
            for b in &set {
                for c in &set {
                    let rules = [a.clone(), b.clone(), c.clone()];
                    for (kind, major, minor) in [(CHAR, 1, 3), (CHAR, 1, 4), (BLOCK, 1, 3), (BLOCK, 2, 3)] {
                        for wanted in 1..=EVERY {
                            let expected = defined(&rules, kind, major, minor, wanted);
                            assert_eq!(allowed(&rules, kind, major, minor, wanted), expected, "{rules:?}");
                        }
                    }
                }
            }
        }
    }

    fn defined(rules: &[DeviceRule], kind: u32, major: u32, minor: u32, wanted: u8) -> bool {
        [MKNOD, READ, WRITE].iter().filter(|bit| wanted & **bit != 0).all(|bit| {
            let speaks = |rule: &&DeviceRule| {
                let of_kind = match rule.kind {
                    DeviceKind::All => true,
                    DeviceKind::Char => kind == CHAR,
                    DeviceKind::Block => kind == BLOCK,
                };
                let of_number =
                    rule.major.is_none_or(|n| n == major) && rule.minor.is_none_or(|n| n == minor);
                of_kind && of_number && access(rule) & bit != 0
            };
            rules.iter().rev().find(speaks).is_some_and(|rule| rule.allow)
        })
    }
}
