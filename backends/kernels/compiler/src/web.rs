//! The kernels for browsers: an ES module with the text of every file, without comments, and of every variant the
//! files to join, the entry point and the overrides.

use crate::manifest::{is_enable, Manifest, COHERENT, COOPERATIVE_MATRIX, NEEDS};

pub fn to_js(manifest: &Manifest) -> String {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut add = |path: &str, text: &str| {
        if !files.iter().any(|(known, _)| known == path) {
            files.push((path.to_string(), compact(text)));
        }
    };
    for source in &manifest.math {
        add(&source.path, &source.text);
    }
    let mut kernels = Vec::new();
    for kernel in &manifest.kernels {
        // naga's spelling of the extension is not the browsers', whose own is an experiment yet; @coherent they do not have.
        if kernel.needs & (COOPERATIVE_MATRIX | COHERENT) != 0 {
            continue;
        }
        kernel.files().for_each(|s| add(&s.path, &s.text));
        let paths: Vec<String> = kernel.files().map(|s| quote(&s.path)).collect();
        for variant in &kernel.variants {
            let overrides: Vec<String> = variant.overrides.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            let needs: Vec<String> = (0..NEEDS.len())
                .filter(|bit| variant.needs & 1 << bit != 0)
                .map(|bit| quote(NEEDS[bit].0))
                .collect();
            kernels.push(format!(
                "  {}: {{entry: {}, enables: {}, files: [{}], overrides: {{{}}}, needs: [{}]}}",
                variant.name,
                quote(&kernel.entry),
                quote(&kernel.enables()),
                paths.join(", "),
                overrides.join(", "),
                needs.join(", ")
            ));
        }
    }
    let math: Vec<String> = manifest.math.iter().map(|s| quote(&s.path)).collect();
    let texts: Vec<String> =
        files.iter().map(|(path, text)| format!("  {}: {}", quote(path), quote(text))).collect();
    format!(
        "// Written by the kernel compiler (backends/kernels/compiler). Do not edit.\n\
         // The WGSL of a variant: its `enables`, the text of every file in `math`, then of its `files`.\n\
         export const math = [{}];\n\
         export const texts = {{\n{}\n}};\n\
         export const kernels = {{\n{}\n}};\n",
        math.join(", "),
        texts.join(",\n"),
        kernels.join(",\n")
    )
}

/// Without comments (WGSL has no strings, so `//` is always one), indentation, empty and `enable` lines.
fn compact(text: &str) -> String {
    text.lines()
        .filter(|line| !is_enable(line))
        .map(|line| line.split("//").next().unwrap_or("").trim())
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect()
}

fn quote(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
