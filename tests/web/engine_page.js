// In a page: the engine on the page's own thread, with a WebGPU device that a test can reach.

/** {engine, gpu, logs, pipe}; files: name under /model/ -> URL; options: of Engine.openPipeline. */
export async function openEngine(files, {gpu: gpuOptions, ...options}) {
  const {Engine} = await import('/dist/engine.js');
  const {Gpu} = await import('/dist/gpu.js');
  const gpu = await Gpu.request(gpuOptions),
    logs = [];
  const module = await WebAssembly.compileStreaming(fetch('/dist/tern.wasm'));
  const engine = await Engine.create({module, gpu, log: (level, text) => logs.push(text)});
  for (const [name, url] of Object.entries(files)) {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer()),
      at = engine.addFile(`/model/${name}`, bytes.length);
    engine.bytes(at, bytes.length).set(bytes);
  }
  const pipe = await engine.openPipeline(options);
  return {engine, gpu, logs, pipe};
}

/** The files of a folder of /models/ that a dtype needs. */
export const folderFiles = (folder, graph) =>
  Object.fromEntries(['config.json', 'tokenizer.json', graph].map(name => [name, `/models/${folder}/${name}`]));
