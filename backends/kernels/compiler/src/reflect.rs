//! Facts about each variant, as the host needs them, and the limits that every device must be able to keep.

use crate::manifest::{Variant, COHERENT, NEEDS};
use crate::pack::{self, Packer};
use crate::spirv::Shader;
use crate::Result;
use naga::valid::GlobalUse;
use naga::{AddressSpace, StorageAccess};
use std::collections::HashMap;

/// WebGPU's default maxStorageBuffersPerShaderStage; TERN__GPU_MAX_BINDINGS, for kernels that browsers do not get.
const WEB_BINDINGS: u32 = 8;
const MAX_BINDINGS: u32 = 11;
/// TERN__GPU_MAX_IMMEDIATE; WebGPU's default maxComputeInvocationsPerWorkgroup.
const MAX_IMMEDIATE: u32 = 64;

pub struct Facts {
    name: String,
    entry: String,
    workgroup_size: [u32; 3],
    immediate_bytes: u32,
    shared_bytes: u32,
    /// In order of their numbers: declared read_write; ever stored to.
    bindings: Vec<(bool, bool)>,
    needs: u32,
    overrides: Vec<(String, f64)>,
    words: Vec<u32>,
}

pub fn facts(shader: Shader, entry: &str, variant: &Variant) -> Result<Facts> {
    let module = &shader.module;
    let index = module.entry_points.iter().position(|p| p.name == entry).ok_or("no such entry point")?;
    let uses = shader.info.get_entry_point(index);
    let mut immediate_bytes = 0;
    let mut shared_bytes = 0;
    let mut bindings = Vec::new();
    for (handle, global) in module.global_variables.iter() {
        let access = match global.space {
            AddressSpace::Immediate => {
                immediate_bytes = module.types[global.ty].inner.size(module.to_ctx());
                continue;
            }
            AddressSpace::WorkGroup => {
                shared_bytes += module.types[global.ty].inner.size(module.to_ctx());
                continue;
            }
            AddressSpace::Storage { access } => access,
            AddressSpace::Uniform => {
                return Err("uniform buffers are not bound: use var<storage, read>".into())
            }
            _ => continue,
        };
        let binding = global.binding.as_ref().ok_or("a buffer without @group and @binding")?;
        let coherent = global.memory_decorations.contains(naga::MemoryDecorations::COHERENT);
        if coherent && variant.needs & COHERENT == 0 {
            return Err("a @coherent buffer: say 'needs coherent'".into());
        }
        let stored = uses[handle].intersects(GlobalUse::WRITE | GlobalUse::ATOMIC);
        bindings.push((binding.group, binding.binding, access.contains(StorageAccess::STORE), stored));
    }
    bindings.sort();
    if let Some((at, b)) = bindings.iter().enumerate().find(|(at, b)| (b.0, b.1 as usize) != (0, *at)) {
        return Err(format!(
            "bindings must be 0, 1, 2 ... of group 0, each used by this variant: found group {} binding {} \
             where binding {at} should be",
            b.0, b.1
        ));
    }
    let size = module.entry_points[index].workgroup_size;
    let limits = [
        (
            "bindings",
            bindings.len() as u32,
            if variant.needs & COHERENT != 0 { MAX_BINDINGS } else { WEB_BINDINGS },
        ),
        ("bytes of immediates", immediate_bytes, MAX_IMMEDIATE),
        (
            "invocations in a workgroup (INVOCATIONS_LIMIT=NUMBER in kernels.def raises this)",
            size[0] * size[1] * size[2],
            variant.invocations_limit,
        ),
        (
            "bytes of workgroup memory (SHARED_LIMIT=BYTES in kernels.def raises this)",
            shared_bytes,
            variant.shared_limit,
        ),
    ];
    for (what, value, limit) in limits {
        if value > limit {
            return Err(format!("{value} {what}; at most {limit}"));
        }
    }
    Ok(Facts {
        name: variant.name.clone(),
        entry: entry.to_string(),
        workgroup_size: size,
        immediate_bytes,
        shared_bytes,
        bindings: bindings.into_iter().map(|(_, _, writable, stored)| (writable, stored)).collect(),
        needs: variant.needs,
        overrides: variant.overrides.clone(),
        words: shader.words,
    })
}

impl Facts {
    fn mask(&self, pick: fn(&(bool, bool)) -> bool) -> u32 {
        self.bindings.iter().enumerate().map(|(at, b)| (pick(b) as u32) << at).sum()
    }

    fn needs_words(
        &self,
        column: fn(&(&'static str, &'static str, Option<&'static str>)) -> &'static str,
    ) -> Vec<&str> {
        (0..NEEDS.len()).filter(|bit| self.needs & 1 << bit != 0).map(|bit| column(&NEEDS[bit])).collect()
    }
}

/// The host's table: backends/gpu/gpu_kernel.h has the columns.
pub fn to_table(all: &[Facts]) -> String {
    let mut out = String::from(
        "/* Written by the kernel compiler (backends/kernels/compiler). Do not edit.\n\
         \x20* TERN_X(name, workgroup x, y, z, bindings, immediate bytes, workgroup memory, writable, writes, needs) */\n",
    );
    for f in all {
        let needs = f.needs_words(|need| need.1);
        let needs = if needs.is_empty() { "0".to_string() } else { needs.join(" | ") };
        let [x, y, z] = f.workgroup_size;
        out += &format!(
            "TERN_X({}, {x}, {y}, {z}, {}, {}, {}, {:#x}, {:#x}, {needs})\n",
            f.name,
            f.bindings.len(),
            f.immediate_bytes,
            f.shared_bytes,
            f.mask(|b| b.0),
            f.mask(|b| b.1)
        );
    }
    out
}

/// The modules, packed (pack.rs), in the table's order. A family is what shares the first word of its names.
pub fn to_c(all: &[Facts]) -> String {
    let mut out = String::from(
        "/* Written by the kernel compiler (backends/kernels/compiler): SPIR-V of every kernel variant, packed. Do not edit. */\n\
         #include \"vulkan/vk_spirv.h\"\n\n\
         const uint8_t tern__vk_packed_bytes[] = {\n",
    );
    let mut families: HashMap<&str, (Packer, usize)> = HashMap::new();
    let (mut bytes, mut table) = (Vec::new(), String::new());
    for (id, f) in all.iter().enumerate() {
        let family = f.name.split('_').next().unwrap_or_default();
        let first = !families.contains_key(family);
        let (packer, before) = families.entry(family).or_insert((Packer::default(), id));
        let coded = pack::code(&f.words);
        table += &format!(
            "{{{}, {}, {}, {}}}, /* {} */\n",
            bytes.len(),
            coded.len(),
            f.words.len(),
            if first { -1 } else { *before as i64 },
            f.name
        );
        bytes.extend(packer.pack(&coded));
        *before = id;
    }
    for line in bytes.chunks(32) {
        let numbers: Vec<String> = line.iter().map(|b| b.to_string()).collect();
        out += &format!("{},\n", numbers.join(","));
    }
    out += &format!(
        "}};\nconst size_t tern__vk_packed_size = {};\n\n\
         const tern__vk_packed_module tern__vk_packed_modules[TERN__KERNEL_COUNT] = {{\n{}}};\n",
        bytes.len(),
        table
    );
    out
}

/// Names come from kernels.def and WGSL: words without anything that JSON would have to escape.
pub fn to_json(all: &[Facts]) -> String {
    let entries: Vec<String> = all
        .iter()
        .map(|f| {
            let bindings: Vec<String> = f
                .bindings
                .iter()
                .map(|(writable, stored)| {
                    let access = if *writable { "read_write" } else { "read" };
                    format!("{{\"access\": \"{access}\", \"stored\": {stored}}}")
                })
                .collect();
            let overrides: Vec<String> = f.overrides.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
            let needs: Vec<String> = f.needs_words(|need| need.0).iter().map(|w| format!("\"{w}\"")).collect();
            let [x, y, z] = f.workgroup_size;
            format!(
                "  {{\"name\": \"{0}\", \"file\": \"spirv/{0}.spv\", \"entry\": \"{1}\", \"overrides\": {{{2}}}, \
                 \"needs\": [{3}],\n   \"workgroup_size\": [{x}, {y}, {z}], \"immediate_bytes\": {4}, \
                 \"shared_bytes\": {5},\n   \"bindings\": [{6}]}}",
                f.name,
                f.entry,
                overrides.join(", "),
                needs.join(", "),
                f.immediate_bytes,
                f.shared_bytes,
                bindings.join(", ")
            )
        })
        .collect();
    format!("[\n{}\n]\n", entries.join(",\n"))
}
