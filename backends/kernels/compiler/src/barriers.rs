//! A pass over the barriers of a SPIR-V module that naga wrote.

use crate::decorate::split;
use crate::Result;
use std::collections::HashMap;

const OP_CONSTANT: u32 = 43;
const OP_CONTROL_BARRIER: u32 = 224;
const ACQUIRE_RELEASE: u32 = 0x8;
const SUBGROUP_MEMORY: u32 = 0x80;
const WORKGROUP_MEMORY: u32 = 0x100;

/// naga's subgroupBarrier() orders what SPIR-V calls subgroup memory, of which Vulkan has none
/// (VUID-StandaloneSpirv-MemorySemantics-10870). Here it orders workgroup memory, which is what invocations of a
/// subgroup exchange values through.
pub fn order_workgroup_memory(words: &[u32]) -> Result<Vec<u32>> {
    let instructions = split(words)?;
    let constants: HashMap<u32, u32> = instructions
        .iter()
        .filter(|at| at[0] == 4 << 16 | OP_CONSTANT)
        .map(|at| (at[2], at[3]))
        .collect();
    let wanted = ACQUIRE_RELEASE | WORKGROUP_MEMORY;
    // Of the type that naga's own semantics have: those of another barrier.
    let known = instructions
        .iter()
        .filter(|at| at[0] & 0xffff == OP_CONTROL_BARRIER)
        .map(|at| at[3])
        .find(|id| constants.get(id) == Some(&wanted));
    let mut out = words[..5].to_vec();
    for at in instructions {
        let start = out.len();
        out.extend_from_slice(at);
        let subgroup = Some(&(ACQUIRE_RELEASE | SUBGROUP_MEMORY));
        if at[0] & 0xffff == OP_CONTROL_BARRIER && constants.get(&at[3]) == subgroup {
            out[start + 3] = known.ok_or("subgroupBarrier() in a kernel without workgroupBarrier()")?;
        }
    }
    Ok(out)
}
