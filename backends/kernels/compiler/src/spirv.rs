//! One kernel variant to SPIR-V 1.3: overrides become constants, branches on constants and what they alone
//! reach are dropped, naga writes the module, and decorations that newer validators reject are stripped.

use crate::manifest::{Kernel, Variant};
use crate::{validate, Result};
use naga::back::{pipeline_constants, spv};
use naga::valid::ModuleInfo;
use naga::{Block, Expression, Function, Literal, Module, Statement, SwitchValue};
use std::collections::HashSet;

pub struct Shader {
    pub module: Module,
    pub words: Vec<u32>,
}

pub fn compile(module: &Module, info: &ModuleInfo, kernel: &Kernel, variant: &Variant) -> Result<Shader> {
    let mut constants = naga::back::PipelineConstants::default();
    for (name, value) in &variant.overrides {
        if !module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name.as_str())) {
            return Err(format!("the kernel has no override '{name}'"));
        }
        constants.insert(name.clone(), *value);
    }
    let entry = (naga::ShaderStage::Compute, kernel.entry.as_str());
    let (resolved, _) = pipeline_constants::process_overrides(module, info, Some(entry), &constants)
        .map_err(|e| e.to_string())?;
    let mut module = resolved.into_owned();
    prune(&mut module);
    naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
    let info = validate(&module, "after pruning")?;

    let pipeline = spv::PipelineOptions { shader_stage: entry.0, entry_point: kernel.entry.clone() };
    let words = spv::write_vec(&module, &info, &options(), Some(&pipeline)).map_err(|e| e.to_string())?;
    Ok(Shader { words: strip_workgroup_layout(words)?, module })
}

/// naga's defaults suit a browser, which must not trust the shader; these are ours.
fn options() -> spv::Options<'static> {
    use spv::Capability as Cap;
    // No Int8 and no DotProduct: naga then writes the shift form of unpack4xI8 and dot4I8Packed, which old
    // devices and SPIRV-Cross take.
    let capabilities = [
        Cap::Shader,
        Cap::Matrix,
        Cap::Float16,
        Cap::StorageBuffer16BitAccess,
        Cap::UniformAndStorageBuffer16BitAccess,
        Cap::GroupNonUniform,
        Cap::GroupNonUniformVote,
        Cap::GroupNonUniformArithmetic,
        Cap::GroupNonUniformBallot,
        Cap::GroupNonUniformShuffle,
        Cap::GroupNonUniformShuffleRelative,
        Cap::GroupNonUniformQuad,
    ];
    spv::Options {
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        capabilities: Some(capabilities.into_iter().collect()),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        use_storage_input_output_16: false,
        emit_int_div_checks: false,
        ..Default::default()
    }
}

/// Keeps, of every switch and if on a constant, only the block that runs.
fn prune(module: &mut Module) {
    let mut functions: Vec<Function> = Vec::new();
    for (_, function) in module.functions.iter() {
        let mut function = function.clone();
        let body = std::mem::take(&mut function.body);
        function.body = prune_block(module, &function, body);
        functions.push(function);
    }
    for ((_, slot), function) in module.functions.iter_mut().zip(functions) {
        *slot = function;
    }
}

fn prune_block(module: &Module, function: &Function, block: Block) -> Block {
    let mut out = Block::new();
    for (statement, span) in block.span_into_iter() {
        match statement {
            Statement::Switch { selector, cases } => {
                let chosen = literal(module, function, selector).and_then(|value| choose(&cases, value));
                match chosen {
                    Some(index) => {
                        let body = prune_block(module, function, cases[index].body.clone());
                        let ends = body.last().is_some_and(Statement::is_terminator);
                        out.extend_block(body);
                        if ends {
                            return out;
                        }
                    }
                    None => out.push(Statement::Switch { selector, cases }, span),
                }
            }
            Statement::If { condition, accept, reject } => match literal(module, function, condition) {
                Some(Literal::Bool(value)) => {
                    out.extend_block(prune_block(module, function, if value { accept } else { reject }))
                }
                _ => {
                    let accept = prune_block(module, function, accept);
                    let reject = prune_block(module, function, reject);
                    out.push(Statement::If { condition, accept, reject }, span);
                }
            },
            other => out.push(other, span),
        }
    }
    out
}

fn literal(module: &Module, function: &Function, handle: naga::Handle<Expression>) -> Option<Literal> {
    let init = match function.expressions[handle] {
        Expression::Literal(value) => return Some(value),
        Expression::Constant(constant) => module.constants[constant].init,
        _ => return None,
    };
    match module.global_expressions[init] {
        Expression::Literal(value) => Some(value),
        _ => None,
    }
}

/// The case that runs, unless it falls through or breaks out of the switch (its body then depends on the
/// switch).
fn choose(cases: &[naga::SwitchCase], value: Literal) -> Option<usize> {
    let wanted = match value {
        Literal::U32(v) => SwitchValue::U32(v),
        Literal::I32(v) => SwitchValue::I32(v),
        _ => return None,
    };
    let find = |wanted| cases.iter().position(|case| case.value == wanted);
    let mut index = find(wanted).or_else(|| find(SwitchValue::Default))?;
    // `case 1, 2: {}` is an empty case that falls through to the one with the body.
    while cases[index].fall_through && cases[index].body.is_empty() {
        index += 1;
    }
    (!cases[index].fall_through && !has_break(&cases[index].body)).then_some(index)
}

fn has_break(block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Break => true,
        Statement::Block(inner) => has_break(inner),
        Statement::If { accept, reject, .. } => has_break(accept) || has_break(reject),
        _ => false,
    })
}

const OP_TYPE_ARRAY: u32 = 28;
const OP_TYPE_STRUCT: u32 = 30;
const OP_TYPE_POINTER: u32 = 32;
const OP_DECORATE: u32 = 71;
const OP_MEMBER_DECORATE: u32 = 72;
const STORAGE_WORKGROUP: u32 = 4;
/// ColMajor, ArrayStride, MatrixStride, Offset.
const LAYOUT_DECORATIONS: [u32; 4] = [5, 6, 7, 35];

/// naga (30.0.1, wgpu issue 7696) gives types of workgroup variables an explicit layout, which SPIR-V forbids
/// there (VUID-StandaloneSpirv-None-10684) and some drivers reject. Drops it from types that only workgroup
/// pointers reach.
fn strip_workgroup_layout(words: Vec<u32>) -> Result<Vec<u32>> {
    let mut workgroup = HashSet::new();
    let mut elsewhere = HashSet::new();
    // Types are declared before use, so one backward sweep carries a pointer's reach down to its parts.
    let instructions = split(&words)?;
    for at in instructions.iter().rev() {
        match at[0] & 0xffff {
            OP_TYPE_POINTER => {
                let reach = if at[2] == STORAGE_WORKGROUP { &mut workgroup } else { &mut elsewhere };
                reach.insert(at[3]);
            }
            op @ (OP_TYPE_ARRAY | OP_TYPE_STRUCT) => {
                let parts = if op == OP_TYPE_ARRAY { &at[2..3] } else { &at[2..] };
                for reach in [&mut workgroup, &mut elsewhere] {
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
        if is_layout && workgroup.contains(&at[1]) {
            if !elsewhere.contains(&at[1]) {
                continue;
            }
            return Err("a type is used both in workgroup memory and in a buffer; give each its own".into());
        }
        out.extend_from_slice(at);
    }
    Ok(out)
}

fn split(words: &[u32]) -> Result<Vec<&[u32]>> {
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
