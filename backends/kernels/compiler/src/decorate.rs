//! Passes over the decorations of a SPIR-V module that naga wrote.

use crate::Result;
use std::collections::HashSet;

const OP_TYPE_ARRAY: u32 = 28;
const OP_TYPE_STRUCT: u32 = 30;
const OP_TYPE_POINTER: u32 = 32;
const OP_DECORATE: u32 = 71;
const OP_MEMBER_DECORATE: u32 = 72;
/// Workgroup, Private, Function: variables that are not shared with the host.
const STORAGE_WITHOUT_LAYOUT: [u32; 3] = [4, 6, 7];
/// ColMajor, ArrayStride, MatrixStride, Offset.
const LAYOUT_DECORATIONS: [u32; 4] = [5, 6, 7, 35];

/// naga (30.0.1, wgpu issue 7696) gives types of all variables an explicit layout, which SPIR-V forbids outside
/// buffers (VUID-StandaloneSpirv-None-10684) and some drivers reject. Drops it from types that no pointer into a
/// buffer reaches.
pub fn strip_layout(words: &[u32]) -> Result<Vec<u32>> {
    let mut inside = HashSet::new();
    let mut elsewhere = HashSet::new();
    // Types are declared before use, so one backward sweep carries a pointer's reach down to its parts.
    let instructions = split(words)?;
    for at in instructions.iter().rev() {
        match at[0] & 0xffff {
            OP_TYPE_POINTER => {
                let reach = if STORAGE_WITHOUT_LAYOUT.contains(&at[2]) { &mut inside } else { &mut elsewhere };
                reach.insert(at[3]);
            }
            op @ (OP_TYPE_ARRAY | OP_TYPE_STRUCT) => {
                let parts = if op == OP_TYPE_ARRAY { &at[2..3] } else { &at[2..] };
                for reach in [&mut inside, &mut elsewhere] {
                    if reach.contains(&at[1]) {
                        reach.extend(parts.iter().copied());
                    }
                }
            }
            _ => {}
        }
    }
    let mut out = words[..5].to_vec();
    for at in instructions {
        let decoration = match at[0] & 0xffff {
            OP_DECORATE => Some(at[2]),
            OP_MEMBER_DECORATE => Some(at[3]),
            _ => None,
        };
        let is_layout = decoration.is_some_and(|d| LAYOUT_DECORATIONS.contains(&d));
        if is_layout && inside.contains(&at[1]) {
            if !elsewhere.contains(&at[1]) {
                continue;
            }
            return Err("a type is used both in a variable and in a buffer; give each its own".into());
        }
        out.extend_from_slice(at);
    }
    Ok(out)
}

const DECORATION_NO_CONTRACTION: u32 = 42;
/// FNegate, FAdd, FSub, FMul, FDiv, FRem, FMod, VectorTimesScalar ... OuterProduct, Dot.
const FLOAT_ARITHMETIC: [std::ops::RangeInclusive<u32>; 7] =
    [127..=127, 129..=129, 131..=131, 133..=133, 136..=136, 140..=141, 142..=148];
/// OpTypeVoid ... OpTypeForwardPointer: where types start, decorations have ended.
const TYPES: std::ops::RangeInclusive<u32> = 19..=39;

/// Forbids the driver to fuse a multiplication and an addition into one rounding: what a kernel rounds once it
/// writes as fma(). Same numbers on every driver, as far as the driver's own rounding goes.
pub fn no_contraction(words: &[u32]) -> Result<Vec<u32>> {
    let instructions = split(words)?;
    let is_arithmetic = |op: u32| FLOAT_ARITHMETIC.iter().any(|ops| ops.contains(&op));
    let results = instructions.iter().filter(|at| is_arithmetic(at[0] & 0xffff)).map(|at| at[2]);
    let decorations: Vec<u32> =
        results.flat_map(|id| [3 << 16 | OP_DECORATE, id, DECORATION_NO_CONTRACTION]).collect();
    let mut out = words[..5].to_vec();
    let mut placed = false;
    for at in instructions {
        if !placed && TYPES.contains(&(at[0] & 0xffff)) {
            out.extend_from_slice(&decorations);
            placed = true;
        }
        out.extend_from_slice(at);
    }
    Ok(out)
}

pub fn split(words: &[u32]) -> Result<Vec<&[u32]>> {
    let mut rest = words.get(5..).ok_or("short SPIR-V")?;
    let mut instructions = Vec::new();
    while let Some(&first) = rest.first() {
        let length = (first >> 16) as usize;
        if length == 0 || length > rest.len() {
            return Err("malformed SPIR-V".into());
        }
        let (at, tail) = rest.split_at(length);
        instructions.push(at);
        rest = tail;
    }
    Ok(instructions)
}
