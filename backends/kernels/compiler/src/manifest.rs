//! Reads kernels.def (its first comment has the format) and the files that it names.

use crate::Result;
use std::fs;
use std::path::Path;

pub struct Source {
    pub path: String,
    pub text: String,
}

pub struct Variant {
    pub name: String,
    pub overrides: Vec<(String, f64)>,
}

pub struct Kernel {
    pub entry: String,
    pub source: Source,
    pub variants: Vec<Variant>,
}

pub struct Manifest {
    pub math: Vec<Source>,
    pub kernels: Vec<Kernel>,
}

const TOOL_FILES: [&str; 2] = ["compiler/Cargo.toml", "compiler/Cargo.lock"];

fn read_text(dir: &Path, path: &str) -> Result<String> {
    let text = fs::read_to_string(dir.join(path)).map_err(|e| format!("{path}: {e}"))?;
    Ok(text.replace("\r\n", "\n"))
}

impl Manifest {
    pub fn read(dir: &Path) -> Result<Manifest> {
        let mut manifest = Manifest { math: Vec::new(), kernels: Vec::new() };
        for (index, line) in read_text(dir, "kernels.def")?.lines().enumerate() {
            let at = |what: &str| format!("kernels.def:{}: {what}: {line}", index + 1);
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["math", path] => {
                    manifest.math.push(Source { path: path.to_string(), text: read_text(dir, path)? })
                }
                ["kernel", entry, path] => manifest.kernels.push(Kernel {
                    entry: entry.to_string(),
                    source: Source { path: path.to_string(), text: read_text(dir, path)? },
                    variants: Vec::new(),
                }),
                ["variant", name, overrides @ ..] => {
                    let kernel = manifest.kernels.last_mut().ok_or_else(|| at("variant before any kernel"))?;
                    let overrides = overrides
                        .iter()
                        .map(|word| {
                            let wrong = || at("expected NAME=NUMBER");
                            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
                            let value = value.parse::<f64>().map_err(|_| wrong())?;
                            Ok((key.to_string(), value))
                        })
                        .collect::<Result<Vec<_>>>()?;
                    kernel.variants.push(Variant { name: name.to_string(), overrides });
                }
                _ => return Err(at("unknown directive")),
            }
        }
        Ok(manifest)
    }

    pub fn math_text(&self) -> String {
        self.math.iter().map(|s| s.text.clone() + "\n").collect()
    }

    /// Everything the output depends on, sorted by path: the tool's own sources are part of it.
    pub fn inputs(&self, dir: &Path) -> Result<Vec<(String, Vec<u8>)>> {
        let mut paths: Vec<String> = self.math.iter().map(|s| s.path.clone()).collect();
        paths.extend(self.kernels.iter().map(|k| k.source.path.clone()));
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
}
