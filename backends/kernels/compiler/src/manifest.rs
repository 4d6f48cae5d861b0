//! Reads kernels.def (its first comment has the format) and the files that it names.

use crate::Result;
use std::fs;
use std::path::Path;

#[derive(Clone)]
pub struct Source {
    pub path: String,
    pub text: String,
}

pub struct Variant {
    pub name: String,
    pub overrides: Vec<(String, f64)>,
    /// NEEDS bits, those of the kernel included.
    pub needs: u32,
    /// The most workgroup memory it may use, in bytes.
    pub shared_limit: u32,
    pub invocations_limit: u32,
}

pub struct Kernel {
    pub entry: String,
    pub source: Source,
    pub includes: Vec<Source>,
    pub needs: u32,
    pub variants: Vec<Variant>,
}

pub struct Manifest {
    pub math: Vec<Source>,
    pub kernels: Vec<Kernel>,
}

/// What a device may lack: word in kernels.def, constant of backends/gpu/gpu_kernel.h, `enable` line in WGSL.
pub const NEEDS: [(&str, &str, Option<&str>); 5] = [
    ("f16", "TERN__GPU_HAS_F16", Some("enable f16;")),
    ("subgroups", "TERN__GPU_HAS_SUBGROUPS", Some("enable subgroups;")),
    ("int8_dot", "TERN__GPU_HAS_INT8_DOT", None),
    ("cooperative_matrix", "TERN__GPU_HAS_COOPERATIVE_MATRIX", Some("enable wgpu_cooperative_matrix;")),
    ("coherent", "TERN__GPU_HAS_COHERENT", None),
];
pub const F16: u32 = 1;
pub const SUBGROUPS: u32 = 2;
pub const INT8_DOT: u32 = 4;
pub const COOPERATIVE_MATRIX: u32 = 8;
pub const COHERENT: u32 = 16;

/// What every WebGPU device gives (the specification's default limits).
const SHARED_LIMIT: u32 = 16384;
const INVOCATIONS_LIMIT: u32 = 256;

const TOOL_FILES: [&str; 2] = ["compiler/Cargo.toml", "compiler/Cargo.lock"];

fn read_text(dir: &Path, path: &str) -> Result<String> {
    let text = fs::read_to_string(dir.join(path)).map_err(|e| format!("{path}: {e}"))?;
    Ok(text.replace("\r\n", "\n"))
}

fn read_source(dir: &Path, path: &str) -> Result<Source> {
    Ok(Source { path: path.to_string(), text: read_text(dir, path)? })
}

fn needs_bits(words: &[&str]) -> Option<u32> {
    words.iter().try_fold(0, |bits, word| Some(bits | 1 << NEEDS.iter().position(|need| need.0 == *word)?))
}

impl Manifest {
    pub fn read(dir: &Path) -> Result<Manifest> {
        let mut manifest = Manifest { math: Vec::new(), kernels: Vec::new() };
        for (index, line) in read_text(dir, "kernels.def")?.lines().enumerate() {
            manifest
                .directive(dir, line)
                .map_err(|what| format!("kernels.def:{}: {what}: {line}", index + 1))?;
        }
        for kernel in &manifest.kernels {
            kernel.check_enables()?;
        }
        let mut names: Vec<&str> =
            manifest.kernels.iter().flat_map(|k| k.variants.iter().map(|v| v.name.as_str())).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("kernels.def: two variants are called {}", twice[0]));
        }
        Ok(manifest)
    }

    fn directive(&mut self, dir: &Path, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        let (words, needs) = match words.iter().position(|word| *word == "needs") {
            Some(at) => (&words[..at], needs_bits(&words[at + 1..]).ok_or("unknown word after 'needs'")?),
            None => (&words[..], 0),
        };
        match words {
            [] => {}
            ["math", path] => self.math.push(read_source(dir, path)?),
            ["kernel", entry, path] => self.kernels.push(Kernel {
                entry: entry.to_string(),
                source: read_source(dir, path)?,
                includes: Vec::new(),
                needs,
                variants: Vec::new(),
            }),
            ["include", path] => {
                let kernel = self.kernels.last_mut().ok_or("include before any kernel")?;
                kernel.includes.push(read_source(dir, path)?);
            }
            ["variant", name, settings @ ..] => {
                let kernel = self.kernels.last_mut().ok_or("variant before any kernel")?;
                let mut variant = Variant {
                    name: name.to_string(),
                    overrides: Vec::new(),
                    needs: needs | kernel.needs,
                    shared_limit: SHARED_LIMIT,
                    invocations_limit: INVOCATIONS_LIMIT,
                };
                for word in settings {
                    let (key, value) = word.split_once('=').ok_or("expected NAME=NUMBER")?;
                    let value = value.parse::<f64>().map_err(|_| "expected NAME=NUMBER")?;
                    if key == "SHARED_LIMIT" {
                        variant.shared_limit = value as u32;
                    } else if key == "INVOCATIONS_LIMIT" {
                        variant.invocations_limit = value as u32;
                    } else {
                        variant.overrides.push((key.to_string(), value));
                    }
                }
                kernel.variants.push(variant);
            }
            _ => return Err("unknown directive".into()),
        }
        Ok(())
    }

    /// Everything the output depends on, sorted by path: the tool's own sources are part of it.
    pub fn inputs(&self, dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
        let mut paths: Vec<String> = self.math.iter().map(|s| s.path.clone()).collect();
        paths.extend(self.kernels.iter().map(|k| k.source.path.clone()));
        paths.extend(self.kernels.iter().flat_map(|k| k.includes.iter().map(|s| s.path.clone())));
        paths.push("kernels.def".into());
        paths.extend(TOOL_FILES.iter().map(|p| p.to_string()));
        let sources = dir.join("compiler/src");
        for entry in fs::read_dir(&sources).map_err(|e| format!("{}: {e}", sources.display()))? {
            let name = entry.map_err(|e| e.to_string())?.file_name();
            paths.push(format!("compiler/src/{}", name.to_string_lossy()));
        }
        paths.sort();
        paths.dedup();
        paths.into_iter().map(|path| Ok((path.clone(), read_text(dir, &path)?.into_bytes()))).collect()
    }

    pub fn math_text(&self) -> String {
        self.math.iter().map(|s| s.text.clone() + "\n").collect()
    }
}

impl Kernel {
    /// The files of the kernel after math, in the order in which they are joined.
    pub fn files(&self) -> impl Iterator<Item = &Source> {
        self.includes.iter().chain(std::iter::once(&self.source))
    }

    /// WGSL wants `enable` lines before anything else; they are joined with other files, and so move to the top.
    pub fn enables(&self) -> String {
        let mut lines: Vec<&str> =
            self.files().flat_map(|s| s.text.lines().filter(|l| is_enable(l))).collect();
        lines.sort();
        lines.dedup();
        lines.into_iter().map(|line| format!("{line}\n")).collect()
    }

    fn check_enables(&self) -> Result<()> {
        for line in self.enables().lines() {
            let bit = NEEDS.iter().position(|need| need.2 == Some(line));
            let bit = bit.ok_or_else(|| format!("{}: no known extension: {line}", self.source.path))?;
            if self.needs & 1 << bit == 0 {
                let word = NEEDS[bit].0;
                return Err(format!(
                    "{}: '{line}' concerns every variant of kernel {}: say 'needs {word}' on its line",
                    self.source.path, self.entry
                ));
            }
        }
        Ok(())
    }
}

pub fn is_enable(line: &str) -> bool {
    line.starts_with("enable ")
}

/// The text without its `enable` lines, which leave empty ones: line numbers stay.
pub fn without_enables(text: &str) -> String {
    text.lines().map(|line| if is_enable(line) { "\n".to_string() } else { format!("{line}\n") }).collect()
}
