// For tests under node: an engine over dist/tern.wasm, and model files put into it.
import {existsSync, readFileSync, readdirSync, statSync} from 'node:fs';
import {homedir} from 'node:os';
import {join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const DIST = process.env.TERN_WEB_DIST ?? join(ROOT, 'bindings/web/dist');
export const CACHE = process.env.TERN_MODEL_CACHE || join(homedir(), '.cache/tern');
export const GGUF = join(CACHE, 'SmolLM2-135M-Instruct-Q4_1.gguf');
export const MINILM = join(CACHE, 'all-MiniLM-L6-v2');

/** Ends the test with ctest's code for "skipped". */
export function skip(why) {
  console.log(`skipped: ${why}`);
  process.exit(77);
}

export function needFiles() {
  if (!existsSync(join(DIST, 'tern.wasm'))) skip(`${DIST}/tern.wasm is not built (bindings/web/build.sh)`);
  for (const file of [GGUF, join(MINILM, 'onnx/model.onnx')])
    if (!existsSync(file)) skip(`${file} is missing: run tests/models/fetch_models.py and make_minilm_folder.py`);
}

export async function createEngine(file = 'tern.wasm') {
  const {Engine} = await import(join(DIST, 'engine.js'));
  return Engine.create({module: new WebAssembly.Module(readFileSync(join(DIST, file)))});
}

function addFile(engine, path, file) {
  const bytes = readFileSync(file),
    at = engine.addFile(path, bytes.length);
  engine.bytes(at, bytes.length).set(bytes);
}

export function addFolder(engine, folder, graph) {
  for (const name of readdirSync(folder, {recursive: true})) {
    const file = join(folder, name);
    if (statSync(file).isFile() && (!name.endsWith('.onnx') || name === graph))
      addFile(engine, `/model/${relative(folder, file)}`, file);
  }
}

export function addGguf(engine, file = GGUF) {
  addFile(engine, '/model.gguf', file);
}
