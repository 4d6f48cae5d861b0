//! A pass over the access chains of a SPIR-V module that naga wrote.

use crate::decorate::split;
use crate::Result;
use std::collections::HashMap;

const OP_ACCESS_CHAIN: u32 = 65;

/// naga indexes in steps: a chain to a buffer's member, and on it another to an element. Here each chain starts at
/// its variable. Nothing else changes for drivers; but the validation layers of the field follow a store through
/// one chain only, and see no hazard between kernels whose stores they do not see.
pub fn combine(words: &[u32]) -> Result<Vec<u32>> {
    let mut chains: HashMap<u32, Vec<u32>> = HashMap::new(); // result: base and indices
    let mut out = words[..5].to_vec();
    for at in split(words)? {
        if at[0] & 0xffff != OP_ACCESS_CHAIN {
            out.extend_from_slice(at);
            continue;
        }
        let mut path = chains.get(&at[3]).cloned().unwrap_or_else(|| vec![at[3]]);
        path.extend_from_slice(&at[4..]);
        let length = 3 + path.len() as u32;
        out.extend_from_slice(&[length << 16 | OP_ACCESS_CHAIN, at[1], at[2]]);
        out.extend_from_slice(&path);
        chains.insert(at[2], path);
    }
    Ok(out)
}
