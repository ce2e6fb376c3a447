//! Expressions of the monitor: numbers, registers, memory and the operators of C on 64-bit unsigned values.
//!
//! `b[A]`, `w[A]`, `d[A]`, `q[A]` are 1, 2, 4 and 8 bytes of memory at linear address A, `[A]` as many as the code has
//! bits. Registers have gdb's names (so `rip` is linear and `ip` the offset), and the general ones their narrow names
//! as well; a `$` before a name is skipped.

use emu_core::machine::Machine;

use crate::gdb::registers;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A constant.
    Number(u64),
    /// Bits of a register.
    Register {
        /// Its number in gdb's list.
        number: usize,
        /// Lowest bit.
        shift: u32,
        /// How many.
        bits: u32,
    },
    /// Memory: the address, and bytes; 0 for as many as the code has.
    Memory(Box<Expression>, u32),
    /// `-`, `!` or `~`.
    Unary(u8, Box<Expression>),
    /// Two operands and their operator.
    Binary(&'static str, Box<Expression>, Box<Expression>),
}

/// Operators from the one that binds least, each with what it binds by.
const OPERATORS: [(&str, u8); 18] = [
    ("||", 1),
    ("&&", 2),
    ("==", 6),
    ("!=", 6),
    ("<<", 8),
    (">>", 8),
    ("<=", 7),
    (">=", 7),
    ("|", 3),
    ("^", 4),
    ("&", 5),
    ("<", 7),
    (">", 7),
    ("+", 9),
    ("-", 9),
    ("*", 10),
    ("/", 10),
    ("%", 10),
];

/// Deepest nesting; what a user types never comes near it.
const DEEPEST: u32 = 64;

/// Parses a whole text.
///
/// # Errors
/// One sentence that says what was expected and where.
pub fn parse(text: &str) -> Result<Expression, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let whole = parser.binary(0)?;
    match parser.rest.trim() {
        "" => Ok(whole),
        rest => Err(format!("expected an operator before {rest:?}")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn binary(&mut self, least: u8) -> Result<Expression, String> {
        let mut left = self.unary()?;
        loop {
            let rest = self.rest.trim_start();
            let found = OPERATORS.iter().find(|(name, binds)| rest.starts_with(name) && *binds > least);
            let Some(&(name, binds)) = found else { return Ok(left) };
            // A longer operator that binds less hides its beginning: `a & b && c`.
            if OPERATORS
                .iter()
                .any(|(other, b)| other.len() > name.len() && rest.starts_with(other) && *b <= least)
            {
                return Ok(left);
            }
            self.take(name);
            let right = self.binary(binds)?;
            left = Expression::Binary(name, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("expected an expression that is not nested so deeply".into());
        }
        let done = self.unary_inner();
        self.depth -= 1;
        done
    }

    fn unary_inner(&mut self) -> Result<Expression, String> {
        for sign in ["-", "!", "~"] {
            if self.take(sign) {
                return Ok(Expression::Unary(sign.as_bytes()[0], Box::new(self.unary()?)));
            }
        }
        if self.take("(") {
            let inner = self.binary(0)?;
            return if self.take(")") { Ok(inner) } else { Err("expected a )".into()) };
        }
        for (start, size) in [("b[", 1), ("w[", 2), ("d[", 4), ("q[", 8), ("[", 0)] {
            if self.take(start) {
                let inner = self.binary(0)?;
                let memory = Expression::Memory(Box::new(inner), size);
                return if self.take("]") { Ok(memory) } else { Err("expected a ]".into()) };
            }
        }
        self.word()
    }

    fn word(&mut self) -> Result<Expression, String> {
        self.take("$");
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return number(word).map(Expression::Number);
        }
        register(word).ok_or_else(|| format!("expected a number or a register, found {word:?}"))
    }
}

/// A number: decimal, or hexadecimal with 0x.
///
/// # Errors
/// One sentence that says what was expected.
pub fn number(text: &str) -> Result<u64, String> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("expected a number such as 4096 or 0x1000, found {text:?}"))
}

fn register(name: &str) -> Option<Expression> {
    let name = name.to_ascii_lowercase();
    if let Some(number) = registers::by_name(&name) {
        return Some(Expression::Register { number, shift: 0, bits: 64 });
    }
    let whole = |wide: String, shift, bits| {
        registers::by_name(&wide).map(|number| Expression::Register { number, shift, bits })
    };
    const OLD: [&str; 8] = ["ax", "bx", "cx", "dx", "si", "di", "bp", "sp"];
    if let Some(old) = name.strip_prefix('e').filter(|rest| OLD.contains(rest)) {
        return whole(format!("r{old}"), 0, 32);
    }
    if OLD.contains(&name.as_str()) {
        return whole(format!("r{name}"), 0, 16);
    }
    let (letter, part) = name.split_at_checked(1)?;
    if "abcd".contains(letter) && (part == "l" || part == "h") {
        return whole(format!("r{letter}x"), if part == "h" { 8 } else { 0 }, 8);
    }
    None
}

impl Expression {
    /// Its value for a processor; `None` when memory cannot be read, or for a division by zero.
    pub fn value(&self, machine: &Machine, cpu: usize) -> Option<u64> {
        let value = |inner: &Self| inner.value(machine, cpu);
        Some(match self {
            Self::Number(number) => *number,
            Self::Register { number, shift, bits } => {
                registers::value(machine, cpu, *number) >> shift & u64::MAX >> (64 - bits)
            }
            Self::Memory(address, size) => {
                let size = if *size == 0 { machine.cpus()[cpu].code_size() / 8 } else { *size } as usize;
                let mut bytes = [0; 8];
                if machine.peek(cpu, value(address)?, &mut bytes[..size]) < size {
                    return None;
                }
                u64::from_le_bytes(bytes)
            }
            Self::Unary(sign, inner) => {
                let inner = value(inner)?;
                match sign {
                    b'-' => inner.wrapping_neg(),
                    b'~' => !inner,
                    _ => u64::from(inner == 0),
                }
            }
            Self::Binary("&&", a, b) => u64::from(value(a)? != 0 && value(b)? != 0),
            Self::Binary("||", a, b) => u64::from(value(a)? != 0 || value(b)? != 0),
            Self::Binary(operator, a, b) => {
                let (a, b) = (value(a)?, value(b)?);
                match *operator {
                    "+" => a.wrapping_add(b),
                    "-" => a.wrapping_sub(b),
                    "*" => a.wrapping_mul(b),
                    "/" => a.checked_div(b)?,
                    "%" => a.checked_rem(b)?,
                    "<<" => u32::try_from(b).ok().and_then(|b| a.checked_shl(b)).unwrap_or(0),
                    ">>" => u32::try_from(b).ok().and_then(|b| a.checked_shr(b)).unwrap_or(0),
                    "|" => a | b,
                    "^" => a ^ b,
                    "&" => a & b,
                    "==" => u64::from(a == b),
                    "!=" => u64::from(a != b),
                    "<" => u64::from(a < b),
                    ">" => u64::from(a > b),
                    "<=" => u64::from(a <= b),
                    _ => u64::from(a >= b),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use emu_core::bus::Bus;
    use emu_core::interp::Interpreter;
    use emu_core::machine::TimeSource;
    use emu_core::mem::Memory;
    use emu_core::mem::page::PhysPage;

    use super::*;

    struct NoBoard;
    impl Bus for NoBoard {}

    fn machine() -> Machine {
        let mut mem = Memory::new(0x10000, 0).unwrap();
        mem.map(0, 0x10000, PhysPage::ram);
        mem.write_bytes(0x100, &[0x34, 0x12, 0x78, 0x56, 0, 0, 0, 1]);
        let mut machine =
            Machine::new(mem, Box::new(NoBoard), Box::<Interpreter>::default(), TimeSource::Virtual);
        machine.cpu_mut().regs[0] = 0x1122_3344_5566_7788;
        machine
    }

    fn value(text: &str) -> Option<u64> {
        parse(text).unwrap_or_else(|why| panic!("{text}: {why}")).value(&machine(), 0)
    }

    #[test]
    fn operators_bind_as_in_c() {
        for (text, expected) in [
            ("1 + 2 * 3", 7),
            ("(1+2)*3", 9),
            ("1 << 4 | 3", 19),
            ("5 & 4 == 4", 1),
            ("2 & 6 && 1", 1),
            ("0 || 3 > 2", 1),
            ("10 - 2 - 3", 5),
            ("-1 >> 60", 15),
            ("!0 + ~0", 0),
            ("1 << 64", 0),
            ("7 % 4", 3),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn registers_and_memory_are_read() {
        for (text, expected) in [
            ("$rax", 0x1122_3344_5566_7788),
            ("eax", 0x5566_7788),
            ("ah", 0x77),
            ("w[0x100]", 0x1234),
            ("[0x100]", 0x1234),
            ("d[0xfe + 2] == 0x56781234", 1),
            ("q[0x100] >> 56", 1),
            ("rip == 0xfffffff0 && ip == 0xfff0", 1),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        assert_eq!(value("b[0x10000]"), None, "nothing is there");
        assert_eq!(value("1 / 0"), None);
        assert_eq!(value("0 && b[0x10000]"), Some(0), "the right side is not looked at");
    }

    #[test]
    fn what_is_no_expression_is_said_in_a_sentence() {
        for text in ["", "1 +", "(1", "b[1", "nothing", "1 2", "0x", "12z", &"(".repeat(100)] {
            assert!(parse(text).unwrap_err().starts_with("expected"), "{text}");
        }
    }
}
