//! One kernel variant to SPIR-V 1.3 (1.6 with cooperative matrices): overrides become constants, branches on
//! constants and what they alone reach are dropped, naga writes the module, and decorations are put right.

use crate::manifest::{Kernel, Variant, COOPERATIVE_MATRIX, F16, INT8_DOT, SUBGROUPS};
use crate::{barriers, chains, decorate, validate, Result};
use naga::back::{pipeline_constants, spv};
use naga::valid::ModuleInfo;
use naga::{Block, Expression, Function, Literal, Module, Statement, SwitchValue};

pub struct Shader {
    pub module: Module,
    pub info: ModuleInfo,
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
    let words = spv::write_vec(&module, &info, &options(variant.needs), Some(&pipeline))
        .map_err(|e| e.to_string())?;
    let words = barriers::order_workgroup_memory(&chains::combine(&words)?)?;
    let words = decorate::no_contraction(&decorate::strip_layout(&words)?)?;
    Ok(Shader { module, info, words })
}

/// naga's defaults suit a browser, which must not trust the shader; these are ours. A kernel that uses what its
/// `needs` do not allow fails here, naming the capability.
fn options(needs: u32) -> spv::Options<'static> {
    use spv::Capability as Cap;
    // Without Int8 and DotProduct naga writes the shift form of unpack4xI8 and dot4I8Packed, which old devices
    // and SPIRV-Cross take.
    let mut capabilities = vec![Cap::Shader, Cap::Matrix];
    if needs & F16 != 0 {
        capabilities.extend([
            Cap::Float16,
            Cap::StorageBuffer16BitAccess,
            Cap::UniformAndStorageBuffer16BitAccess,
        ]);
    }
    if needs & (SUBGROUPS | COOPERATIVE_MATRIX) != 0 {
        capabilities.extend([
            Cap::GroupNonUniform,
            Cap::GroupNonUniformVote,
            Cap::GroupNonUniformArithmetic,
            Cap::GroupNonUniformBallot,
            Cap::GroupNonUniformShuffle,
            Cap::GroupNonUniformShuffleRelative,
            Cap::GroupNonUniformQuad,
        ]);
    }
    if needs & INT8_DOT != 0 {
        capabilities.extend([Cap::DotProduct, Cap::DotProductInput4x8BitPacked]);
    }
    if needs & COOPERATIVE_MATRIX != 0 {
        capabilities.extend([Cap::CooperativeMatrixKHR, Cap::VulkanMemoryModel]);
    }
    spv::Options {
        lang_version: if needs & COOPERATIVE_MATRIX != 0 { (1, 6) } else { (1, 3) },
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
    let functions: Vec<Function> =
        module.functions.iter().map(|(_, function)| pruned(module, function)).collect();
    let points: Vec<Function> =
        module.entry_points.iter().map(|point| pruned(module, &point.function)).collect();
    for ((_, slot), function) in module.functions.iter_mut().zip(functions) {
        *slot = function;
    }
    for (point, function) in module.entry_points.iter_mut().zip(points) {
        point.function = function;
    }
}

fn pruned(module: &Module, function: &Function) -> Function {
    let mut function = function.clone();
    let body = std::mem::take(&mut function.body);
    function.body = prune_block(module, &function, body);
    // The names of expressions that are no longer evaluated would keep what they read alive.
    function.named_expressions.clear();
    function
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
            Statement::Block(inner) => out.push(Statement::Block(prune_block(module, function, inner)), span),
            Statement::Loop { body, continuing, break_if } => {
                let body = prune_block(module, function, body);
                let continuing = prune_block(module, function, continuing);
                out.push(Statement::Loop { body, continuing, break_if }, span);
            }
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
