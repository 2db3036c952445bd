//! The machine code of one function: which instructions are reached, what they call, and which addresses they take.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::binary::{Binary, Function, Index};

/// What a function does, one entry for each instruction that matters.
pub enum Deed {
    /// Calls a function, or jumps to it.
    Call(Index),
    /// Takes the address of a function, to call it later or to have it called.
    Take(Index),
    /// Takes the address of data.
    Address(u64),
    /// Calls what only the running program knows.
    Unknown,
}

/// A decoded function.
pub struct Code {
    /// In the order of their addresses.
    instructions: Vec<Instruction>,
    /// Where the jump tables of the function lead.
    jumps: Vec<usize>,
    end: u64,
}

impl Code {
    pub fn of(binary: &Binary, function: &Function) -> Self {
        let bytes = binary.code(function);
        let decoder = Decoder::with_ip(64, bytes, function.address, DecoderOptions::NONE);
        let end = function.address + bytes.len() as u64;
        let mut code = Self { instructions: decoder.into_iter().collect(), jumps: vec![], end };
        code.jumps = code.jump_tables(binary);
        code
    }

    /// Which instructions are reached from the entry, without going on behind those that `stop`. What only the
    /// unwinder enters is not reached: it runs after a panic, and does not lead to the first.
    pub fn reached(&self, stop: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.instructions.len()];
        self.reach(&mut reached, vec![0], stop);
        reached
    }

    /// Which instructions are reached from those after these, without going on behind those that `stop`.
    pub fn reached_from(&self, places: &[usize], stop: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.instructions.len()];
        self.reach(&mut reached, places.iter().map(|place| place + 1).collect(), stop);
        reached
    }

    /// Whether the function neither returns nor goes on elsewhere.
    pub fn never_returns(&self) -> bool {
        let reached = self.reached(|_| false);
        let leaves = |(place, it): (usize, &Instruction)| {
            let goes = match it.flow_control() {
                FlowControl::Return => true,
                FlowControl::UnconditionalBranch => {
                    self.position(it.near_branch_target()).is_none()
                }
                _ => false,
            };
            goes && reached[place]
        };
        !self.instructions.iter().enumerate().any(leaves)
    }

    /// Where the function returns.
    pub fn returns(&self) -> impl Iterator<Item = usize> {
        let all = self.instructions.iter().enumerate();
        all.filter(|(_, it)| it.flow_control() == FlowControl::Return).map(|(place, _)| place)
    }

    fn reach(&self, reached: &mut [bool], mut open: Vec<usize>, stop: impl Fn(usize) -> bool) {
        while let Some(mut at) = open.pop() {
            while at < reached.len() && !reached[at] {
                reached[at] = true;
                if stop(at) {
                    break;
                }
                let instruction = &self.instructions[at];
                let target = || self.position(instruction.near_branch_target());
                match instruction.flow_control() {
                    FlowControl::ConditionalBranch => open.extend(target()),
                    FlowControl::UnconditionalBranch => match target() {
                        Some(target) => {
                            at = target;
                            continue;
                        }
                        None => break,
                    },
                    FlowControl::IndirectBranch => {
                        open.extend(&self.jumps);
                        break;
                    }
                    FlowControl::Return | FlowControl::Exception | FlowControl::Interrupt => break,
                    _ => {}
                }
                at += 1;
            }
        }
    }

    /// What the reached instructions do, with their places and addresses.
    pub fn deeds(&self, binary: &Binary, reached: &[bool]) -> Vec<(usize, u64, Deed)> {
        let mut deeds: Vec<(usize, u64, Deed)> = Vec::new();
        // Registers with the address of a function: unoptimized code loads the address of another crate's function
        // from the global offset table, and calls it then. With the deed that took it.
        let mut held: Vec<(Register, Index, usize)> = Vec::new();
        for (place, it) in self.instructions.iter().enumerate() {
            if !reached[place] {
                continue;
            }
            let flow = it.flow_control();
            let deed = match flow {
                FlowControl::Call => {
                    let target = binary.function_at(it.near_branch_target());
                    Some(target.map_or(Deed::Unknown, Deed::Call))
                }
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                    let target = it.near_branch_target();
                    let is_inside = self.position(target).is_some();
                    binary.function_at(target).filter(|_| !is_inside).map(Deed::Call)
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch => {
                    let register = it.op0_register().full_register();
                    let is_held = |held: &&(Register, Index, usize)| held.0 == register;
                    let held =
                        held.iter().find(is_held).filter(|_| it.op0_kind() == OpKind::Register);
                    if let Some((_, function, taken)) = held {
                        // The call is here, and not where the address was taken.
                        deeds[*taken] = (place, it.ip(), Deed::Call(*function));
                        None
                    } else if it.is_ip_rel_memory_operand() {
                        // A function of a shared library calls nothing of ours.
                        binary.function_pointer(it.ip_rel_memory_address()).map(Deed::Call)
                    } else {
                        (flow == FlowControl::IndirectCall).then_some(Deed::Unknown)
                    }
                }
                _ => {
                    let register = written(it);
                    held.retain(|held| Some(held.0) != register);
                    let address = taken(binary, it);
                    let function = address.and_then(|address| binary.function_at(address));
                    if let (Some(register), Some(function)) = (register, function) {
                        held.push((register, function, deeds.len()));
                    }
                    function.map(Deed::Take).or(address.map(Deed::Address))
                }
            };
            if matches!(flow, FlowControl::Call | FlowControl::IndirectCall) {
                held.clear();
            }
            deeds.extend(deed.map(|deed| (place, it.ip(), deed)));
        }
        deeds
    }

    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Where the jump tables lead.
    pub fn jumps(&self) -> &[usize] {
        &self.jumps
    }

    /// The place of the instruction at this address.
    pub fn position(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, Instruction::ip).ok()
    }

    /// A `match` jumps through a table of offsets of 32 bits, relative to the table, whose address is taken before.
    fn jump_tables(&self, binary: &Binary) -> Vec<usize> {
        let is_jump = |it: &Instruction| it.flow_control() == FlowControl::IndirectBranch;
        if !self.instructions.iter().any(is_jump) {
            return vec![];
        }
        let is_lea =
            |it: &&Instruction| it.mnemonic() == Mnemonic::Lea && it.is_ip_rel_memory_operand();
        let mut jumps = Vec::new();
        for table in self.instructions.iter().filter(is_lea).map(Instruction::ip_rel_memory_address)
        {
            let (offsets, _) = binary.data(table).unwrap_or_default().as_chunks::<4>();
            for offset in offsets.iter().copied().map(i32::from_le_bytes) {
                let target = table.wrapping_add_signed(offset.into());
                match self.position(target).filter(|_| target < self.end) {
                    Some(place) => jumps.push(place),
                    None => break,
                }
            }
        }
        jumps
    }
}

/// The address that an instruction takes: of a local function or data, or through the global offset table.
fn taken(binary: &Binary, instruction: &Instruction) -> Option<u64> {
    if !instruction.is_ip_rel_memory_operand() {
        return None;
    }
    let address = instruction.ip_rel_memory_address();
    match instruction.mnemonic() {
        Mnemonic::Lea => Some(address),
        Mnemonic::Mov => binary.pointer(address),
        _ => None,
    }
}

/// The register that an instruction changes, if any.
fn written(instruction: &Instruction) -> Option<Register> {
    let is_read = matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push);
    let writes =
        !is_read && instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
    writes.then(|| instruction.op0_register().full_register())
}
