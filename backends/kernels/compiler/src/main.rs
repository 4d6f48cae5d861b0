//! Development-time compiler of the kernels: reads kernels.def, writes generated/.
//!
//!   tern-kernel-compiler KERNELS_DIR OUTPUT_DIR
//!
//! - math/*.wgsl become C (kernel_math.h, module c_emitter);
//! - every variant of every kernel becomes SPIR-V (spirv/NAME.spv, module spirv; all of them packed in kernel_spirv.c,
//!   module pack), a line of the host's table (kernel_table.def, module reflect), and facts for other tools (kernels.json);
//! - the text itself, with the overrides of each variant, goes to browsers (web/kernels.js, module web);
//! - MANIFEST.sha256 lists the hash of every input and output, for tests/checks/check_generated.py.
//! The output depends on nothing but the inputs: no time, no absolute path.

mod barriers;
mod c_emitter;
mod chains;
mod decorate;
mod manifest;
mod pack;
mod reflect;
mod spirv;
mod web;

use sha2::{Digest, Sha256};
use std::path::Path;
use std::{env, fs, process};

pub const TOOL: &str = concat!("tern-kernel-compiler ", env!("CARGO_PKG_VERSION"), ", naga 30.0.1");

type Result<T> = std::result::Result<T, String>;

fn main() {
    let args: Vec<String> = env::args().collect();
    if args.len() != 3 {
        eprintln!("usage: {} KERNELS_DIR OUTPUT_DIR", args[0]);
        process::exit(2);
    }
    if let Err(message) = run(Path::new(&args[1]), Path::new(&args[2])) {
        eprintln!("error: {message}");
        process::exit(1);
    }
}

fn run(kernels: &Path, out: &Path) -> Result<()> {
    let manifest = manifest::Manifest::read(kernels)?;
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();

    let math = parse(&manifest.math_text(), "math")?;
    let info = validate(&math, "math")?;
    let header = c_emitter::emit(&math, &info, &manifest.math)?;
    outputs.push(("kernel_math.h".into(), header.into_bytes()));

    let mut facts = Vec::new();
    for kernel in &manifest.kernels {
        let module = parse(&joined(&manifest, kernel), &kernel.source.path)?;
        let info = validate(&module, &kernel.source.path)?;
        for variant in &kernel.variants {
            let at = |e| format!("{}, variant {}: {e}", kernel.source.path, variant.name);
            let shader = spirv::compile(&module, &info, kernel, variant).map_err(at)?;
            let bytes = shader.words.iter().flat_map(|w| w.to_le_bytes()).collect();
            outputs.push((format!("spirv/{}.spv", variant.name), bytes));
            facts.push(reflect::facts(shader, &kernel.entry, variant).map_err(at)?);
        }
    }
    outputs.push(("kernels.json".into(), reflect::to_json(&facts).into_bytes()));
    outputs.push(("kernel_table.def".into(), reflect::to_table(&facts).into_bytes()));
    outputs.push(("kernel_spirv.c".into(), reflect::to_c(&facts).into_bytes()));
    outputs.push(("web/kernels.js".into(), web::to_js(&manifest).into_bytes()));

    let mut sums = format!("# {TOOL}. Paths are relative to backends/kernels; outputs are generated/.\n");
    for (path, bytes) in manifest.inputs(kernels)? {
        sums += &format!("{}  {path}\n", hex(&bytes));
    }
    outputs.sort();
    for (path, bytes) in &outputs {
        sums += &format!("{}  generated/{path}\n", hex(bytes));
    }
    outputs.push(("MANIFEST.sha256".into(), sums.into_bytes()));

    for (path, bytes) in &outputs {
        let path = out.join(path);
        let folder = path.parent().unwrap_or(out);
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    println!("{} functions to C, {} SPIR-V modules", math.functions.len(), facts.len());
    Ok(())
}

/// The kernel's WGSL as naga takes it.
fn joined(manifest: &manifest::Manifest, kernel: &manifest::Kernel) -> String {
    // Browsers require this line, naga 30 rejects it.
    let enables = kernel.enables().replace("enable subgroups;\n", "");
    let files: String = kernel.files().map(|s| manifest::without_enables(&s.text)).collect();
    enables + &manifest.math_text() + &files
}

fn parse(source: &str, name: &str) -> Result<naga::Module> {
    let mut frontend = naga::front::wgsl::Frontend::new();
    let mut options = naga::front::wgsl::Options::new();
    options.capabilities = naga::valid::Capabilities::all();
    frontend.set_options(options);
    frontend.parse(source).map_err(|e| format!("{name}: {}", e.emit_to_string(source)))
}

pub fn validate(module: &naga::Module, name: &str) -> Result<naga::valid::ModuleInfo> {
    use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
    Validator::new(ValidationFlags::all(), Capabilities::all())
        .subgroup_stages(ShaderStages::all())
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(module)
        .map_err(|e| format!("{name}: {:?}", e.into_inner()))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
