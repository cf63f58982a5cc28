//! The few BPF instructions of which the programs of `check` consist (RFC 9669).

/// A register. The result is in `R0`, arguments are in `R1` to `R5`, calls leave `R6` alone, `R10` points behind the stack.
#[derive(Clone, Copy)]
pub(in crate::kernel) enum Register {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R6 = 6,
    R10 = 10,
}

/// One instruction, as `struct bpf_insn` has it.
#[derive(Clone, Copy)]
pub(in crate::kernel) struct Instruction([u8; 8]);

impl Instruction {
    /// ```text
    /// opcode:8 | destination:4 source:4 (the other way round on big-endian) | offset:16 | immediate:32
    /// ```
    fn new(opcode: u8, destination: Register, source: Register, offset: i16, immediate: i32) -> Self {
        let [destination, source] = [destination as u8, source as u8];
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        let [o0, o1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = immediate.to_ne_bytes();
        Self([opcode, registers, o0, o1, i0, i1, i2, i3])
    }

    /// `to = value` (ALU64 | MOV | K).
    pub(in crate::kernel) fn set(to: Register, value: i32) -> Self {
        Self::new(0xb7, to, Register::R0, 0, value)
    }

    /// `to = from` (ALU64 | MOV | X).
    pub(in crate::kernel) fn copy(to: Register, from: Register) -> Self {
        Self::new(0xbf, to, from, 0, 0)
    }

    /// `to += value` (ALU64 | ADD | K).
    pub(in crate::kernel) fn add(to: Register, value: i32) -> Self {
        Self::new(0x07, to, Register::R0, 0, value)
    }

    /// `*(u64 *)(to + offset) = value` (ST | MEM | DW).
    pub(in crate::kernel) fn store(to: Register, offset: i16, value: i32) -> Self {
        Self::new(0x7a, to, Register::R0, offset, value)
    }

    /// `to = *(u32 *)(from + offset)` (LDX | MEM | W).
    pub(in crate::kernel) fn load(to: Register, from: Register, offset: i16) -> Self {
        Self::new(0x61, to, from, offset, 0)
    }

    /// `if (u32)of != value goto +over` (JMP32 | JNE | K).
    pub(in crate::kernel) fn unless(of: Register, value: i32, over: i16) -> Self {
        Self::new(0x56, of, Register::R0, over, value)
    }

    /// `R0 = helper(R1, ..., R5)` (JMP | CALL).
    pub(in crate::kernel) fn call(helper: i32) -> Self {
        Self::new(0x85, Register::R0, Register::R0, 0, helper)
    }

    /// `return R0` (JMP | EXIT).
    pub(in crate::kernel) fn exit() -> Self {
        Self::new(0x95, Register::R0, Register::R0, 0, 0)
    }

    /// The whole program `return value`.
    pub(in crate::kernel) fn constant(value: i32) -> [Self; 2] {
        [Self::set(Register::R0, value), Self::exit()]
    }

    /// The program as the kernel reads it.
    pub(super) fn bytes(program: &[Self]) -> Vec<u8> {
        program.iter().flat_map(|instruction| instruction.0).collect()
    }
}
