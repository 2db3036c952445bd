//! Reads an ELF file: its functions by name, its data, and the pointers in its data.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use object::{
    Architecture, Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, RelocationTarget,
    SectionKind, SymbolKind,
};

use crate::{
    failure::{Failure, Result, Unreadable},
    names,
};

/// The number of a function: its place in the order of addresses.
pub type Index = u32;

/// A function.
pub struct Function {
    pub address: u64,
    pub size: u64,
    /// Demangled, without hashes. Several if the linker has folded equal functions.
    pub names: Vec<String>,
}

impl Function {
    /// The name for a reader.
    pub fn name(&self) -> &str {
        self.names.first().map_or("?", String::as_str)
    }

    /// The types that this is the drop glue of.
    pub fn glue_of(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| names::glue_of(name))
    }
}

/// What an ELF file says.
pub struct Binary {
    /// In the order of their addresses.
    pub functions: Vec<Function>,
    /// The size of the file, in bytes.
    pub size: usize,
    at: HashMap<u64, Index>,
    /// What the loader writes, by where. The file has zeros there.
    pointers: HashMap<u64, u64>,
    sections: Vec<Section>,
    is_position_independent: bool,
}

struct Section {
    start: u64,
    data: Vec<u8>,
    is_code: bool,
    has_vtables: bool,
}

impl Binary {
    /// Reads the file, and says why if it cannot be checked.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |error| Failure::File { action: "read", path: path.into(), error };
        // A device may have no end.
        let kind = fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(Failure::Unreadable { path: path.into(), why: Unreadable::NotElf });
        }
        let data = fs::read(path).map_err(failed)?;
        Self::of(&data).map_err(|why| Failure::Unreadable { path: path.into(), why })
    }

    fn of(data: &[u8]) -> Result<Self, Unreadable> {
        if !data.starts_with(&object::elf::ELFMAG) {
            return Err(Unreadable::NotElf);
        }
        let file =
            object::File::parse(data).map_err(|error| Unreadable::Damaged(error.to_string()))?;
        if file.architecture() != Architecture::X86_64 {
            return Err(Unreadable::Architecture(format!("{:?}", file.architecture())));
        }
        if file.kind() == ObjectKind::Relocatable {
            return Err(Unreadable::NotLinked);
        }
        let functions = functions(&file);
        if functions.is_empty() {
            return Err(Unreadable::Stripped);
        }
        if !functions.iter().any(|function| function.glue_of().next().is_some()) {
            return Err(Unreadable::NotRust);
        }
        if is_optimized(&functions) {
            return Err(Unreadable::Optimized);
        }
        Ok(Self {
            at: (0..).zip(&functions).map(|(index, it)| (it.address, index)).collect(),
            size: data.len(),
            pointers: pointers(&file),
            sections: sections(&file),
            is_position_independent: file.kind() == ObjectKind::Dynamic,
            functions,
        })
    }

    /// The function that begins at this address.
    pub fn function_at(&self, address: u64) -> Option<Index> {
        self.at.get(&address).copied()
    }

    pub fn function(&self, index: Index) -> &Function {
        &self.functions[index as usize]
    }

    /// The machine code of a function.
    pub fn code(&self, function: &Function) -> &[u8] {
        let is_there = |section: &&Section| section.is_code && section.has(function.address);
        let code =
            self.sections.iter().find(is_there).and_then(|section| section.from(function.address));
        let size = usize::try_from(function.size).unwrap_or(usize::MAX);
        code.map_or(&[], |code| &code[..size.min(code.len())])
    }

    /// Data from this address to the end of its section.
    pub fn data(&self, address: u64) -> Option<&[u8]> {
        let mut data = self.sections.iter().filter(|section| !section.is_code);
        data.find(|section| section.has(address))?.from(address)
    }

    /// The number at this address, as the file has it.
    pub fn word(&self, address: u64) -> Option<u64> {
        self.data(address)?.first_chunk().copied().map(u64::from_le_bytes)
    }

    /// The pointer at this address, as the running program has it.
    pub fn pointer(&self, address: u64) -> Option<u64> {
        match self.pointers.get(&address) {
            Some(pointer) => Some(*pointer),
            None if self.is_position_independent => None,
            None => self.word(address).filter(|word| *word != 0),
        }
    }

    /// The function whose address is at this address.
    pub fn function_pointer(&self, address: u64) -> Option<Index> {
        self.function_at(self.pointer(address)?)
    }

    /// Where the compiler puts vtables: begin and end.
    pub fn vtable_sections(&self) -> impl Iterator<Item = (u64, u64)> {
        let tables = self.sections.iter().filter(|section| section.has_vtables);
        tables.map(|section| (section.start, section.start + section.data.len() as u64))
    }
}

impl Section {
    fn has(&self, address: u64) -> bool {
        address >= self.start && address - self.start < self.data.len() as u64
    }

    fn from(&self, address: u64) -> Option<&[u8]> {
        self.data.get(usize::try_from(address.checked_sub(self.start)?).ok()?..)
    }
}

/// Whether everything was compiled with optimization, or Tokio was. Then the small functions are missing that an
/// unoptimized program calls everywhere, because every optimizing build inlines them.
fn is_optimized(functions: &[Function]) -> bool {
    const SMALL: [&str; 3] =
        ["core::mem::drop::<", "core::ptr::non_null::NonNull", "core::mem::replace"];
    const SMALL_OF_TOKIO: &str = "tokio::loom::std::unsafe_cell::UnsafeCell";
    let names = || functions.iter().flat_map(|function| &function.names);
    let has = |part: &str| names().any(|name| name.contains(part));
    let has_small = SMALL.iter().any(|part| has(part));
    !has_small || (has("tokio::runtime::") && !has(SMALL_OF_TOKIO))
}

fn functions(file: &object::File<'_>) -> Vec<Function> {
    let mut by_address = BTreeMap::new();
    for symbol in file.symbols() {
        let is_function = symbol.kind() == SymbolKind::Text && symbol.size() > 0;
        let Ok(name) = symbol.name() else { continue };
        if !is_function || symbol.address() == 0 {
            continue;
        }
        let address = symbol.address();
        let function: &mut Function =
            by_address.entry(address).or_insert(Function { address, size: 0, names: vec![] });
        function.size = function.size.max(symbol.size());
        function.names.push(names::in_order(format!("{:#}", rustc_demangle::demangle(name))));
    }
    by_address.into_values().collect()
}

fn pointers(file: &object::File<'_>) -> HashMap<u64, u64> {
    let relocations = file.dynamic_relocations().into_iter().flatten();
    // `R_X86_64_RELATIVE`: the addend is the address.
    let relative = relocations.filter(|(_, it)| it.target() == RelocationTarget::Absolute);
    relative.map(|(at, it)| (at, it.addend().cast_unsigned())).collect()
}

fn sections(file: &object::File<'_>) -> Vec<Section> {
    let mut sections = Vec::new();
    for section in file.sections().filter(|section| section.address() != 0) {
        let name = section.name().unwrap_or_default();
        let is_code = section.kind() == SectionKind::Text;
        let has_vtables = name.starts_with(".data.rel.ro") || name.starts_with(".rodata");
        let is_data = has_vtables || name.starts_with(".data") || name.starts_with(".got");
        let Ok(data) = section.data() else { continue };
        if is_code || is_data {
            let (start, data) = (section.address(), data.to_vec());
            sections.push(Section { start, data, is_code, has_vtables });
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_elf_is_refused() {
        assert_eq!(Binary::of(b"#!/bin/sh\n").err(), Some(Unreadable::NotElf));
        assert_eq!(Binary::of(b"").err(), Some(Unreadable::NotElf));
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused() {
        let cut = [&object::elf::ELFMAG[..], &[2, 1, 1, 0]].concat();
        assert!(matches!(Binary::of(&cut), Err(Unreadable::Damaged(_))));
    }
}
