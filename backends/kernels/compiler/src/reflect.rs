//! Facts about each SPIR-V module that the host's table must agree with: bindings, parameter size, workgroup
//! size.

use crate::manifest::Variant;
use crate::Result;
use naga::{AddressSpace, Module, StorageAccess};

pub struct Facts {
    name: String,
    file: String,
    entry: String,
    workgroup_size: [u32; 3],
    immediate_bytes: u32,
    bindings: Vec<(u32, u32, &'static str)>,
    overrides: Vec<(String, f64)>,
}

pub fn facts(module: &Module, entry: &str, variant: &Variant, file: &str) -> Result<Facts> {
    let point = module.entry_points.iter().find(|p| p.name == entry).ok_or("no such entry point")?;
    let mut immediate_bytes = 0;
    let mut bindings = Vec::new();
    for (_, global) in module.global_variables.iter() {
        let access = match global.space {
            AddressSpace::Immediate => {
                immediate_bytes = module.types[global.ty].inner.size(module.to_ctx());
                continue;
            }
            AddressSpace::Uniform => "uniform",
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "read_write",
            AddressSpace::Storage { .. } => "read",
            _ => continue,
        };
        let binding = global.binding.as_ref().ok_or("a buffer without @group and @binding")?;
        bindings.push((binding.group, binding.binding, access));
    }
    bindings.sort();
    Ok(Facts {
        name: variant.name.clone(),
        file: file.to_string(),
        entry: entry.to_string(),
        workgroup_size: point.workgroup_size,
        immediate_bytes,
        bindings,
        overrides: variant.overrides.clone(),
    })
}

/// Names come from kernels.def and WGSL: words without anything that JSON would have to escape.
pub fn to_json(all: &[Facts]) -> String {
    let entries: Vec<String> = all
        .iter()
        .map(|f| {
            let bindings: Vec<String> = f
                .bindings
                .iter()
                .map(|(group, binding, access)| {
                    format!("{{\"group\": {group}, \"binding\": {binding}, \"access\": \"{access}\"}}")
                })
                .collect();
            let overrides: Vec<String> = f.overrides.iter().map(|(k, v)| format!("\"{k}\": {v}")).collect();
            let [x, y, z] = f.workgroup_size;
            format!(
                "  {{\"name\": \"{}\", \"file\": \"{}\", \"entry\": \"{}\", \"overrides\": {{{}}},\n   \
                 \"workgroup_size\": [{x}, {y}, {z}], \"immediate_bytes\": {},\n   \"bindings\": [{}]}}",
                f.name,
                f.file,
                f.entry,
                overrides.join(", "),
                f.immediate_bytes,
                bindings.join(", ")
            )
        })
        .collect();
    format!("[\n{}\n]\n", entries.join(",\n"))
}
