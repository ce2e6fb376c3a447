//! Names of addresses, from ELF files and System.map.

use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol, SymbolKind};

use super::args::number;

/// An address more than this behind a symbol without a size is not its.
const REACH: u64 = 1 << 16;

#[derive(Clone, Debug)]
struct Symbol {
    address: u64,
    size: u64,
    name: String,
}

/// A table of names.
#[derive(Clone, Debug, Default)]
pub struct Symbols(Vec<Symbol>);

impl Symbols {
    /// Reads all files of `--symbols`: FILE, or FILE@OFFSET.
    ///
    /// # Errors
    /// When one cannot be read, or has no symbols.
    pub fn load(files: &[String]) -> Result<Self> {
        let mut all = Vec::new();
        for spec in files {
            let (path, offset) = match spec.rsplit_once('@') {
                Some((path, offset)) if !Path::new(spec).exists() => (
                    path,
                    number(offset)
                        .map_err(anyhow::Error::msg)
                        .with_context(|| format!("--symbols {spec}"))?,
                ),
                _ => (spec.as_str(), 0),
            };
            let bytes = std::fs::read(path).with_context(|| format!("--symbols {path}"))?;
            let before = all.len();
            if bytes.starts_with(b"\x7fELF") {
                elf(&bytes, &mut all).with_context(|| format!("--symbols {path}"))?;
            } else {
                map(&bytes, &mut all);
            }
            if all.len() == before {
                bail!("--symbols {path}: expected an ELF file with symbols, or a System.map");
            }
            all[before..].iter_mut().for_each(|symbol| symbol.address = symbol.address.wrapping_add(offset));
        }
        all.sort_by_key(|symbol| symbol.address);
        Ok(Self(all))
    }

    /// The symbol that an address belongs to, and how far it lies behind its start.
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let end = self.0.partition_point(|symbol| symbol.address <= address);
        let symbol = self.0[..end].last()?;
        let offset = address - symbol.address;
        let reach = if symbol.size == 0 { REACH } else { symbol.size };
        (offset < reach).then_some((symbol.name.as_str(), offset))
    }

    /// `name+0x10`, or nothing.
    pub fn show(&self, address: u64) -> String {
        match self.find(address) {
            Some((name, 0)) => name.to_owned(),
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => String::new(),
        }
    }

    /// The name, or the address in digits.
    pub fn name(&self, address: u64) -> String {
        self.find(address).map_or_else(|| format!("{address:#x}"), |(name, _)| name.to_owned())
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn elf(bytes: &[u8], all: &mut Vec<Symbol>) -> Result<()> {
    let file = object::File::parse(bytes).context("expected an ELF file")?;
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        let wanted = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown);
        if let Ok(name) = symbol.name()
            && wanted
            && symbol.is_definition() | (symbol.kind() == SymbolKind::Unknown)
            && !name.is_empty()
            && symbol.address() != 0
        {
            all.push(Symbol { address: symbol.address(), size: symbol.size(), name: name.to_owned() });
        }
    }
    Ok(())
}

/// Lines of address, type and name.
fn map(bytes: &[u8], all: &mut Vec<Symbol>) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        if let (Some(address), Some(_), Some(name)) = (fields.next(), fields.next(), fields.next())
            && let Ok(address) = u64::from_str_radix(address, 16)
            && address != 0
        {
            all.push(Symbol { address, size: 0, name: name.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_symbol_before_it() {
        let mut all = Vec::new();
        map(b"0000000000001000 T first\n0000000000001010 t second\nnonsense\n", &mut all);
        let symbols = Symbols(all);
        assert_eq!(symbols.show(0x1000), "first");
        assert_eq!(symbols.show(0x100f), "first+0xf");
        assert_eq!(symbols.name(0x1014), "second");
        assert_eq!((symbols.show(0xfff), symbols.name(0xfff)), (String::new(), "0xfff".into()));
        assert!(symbols.find(0x1010 + REACH).is_none());
    }
}
