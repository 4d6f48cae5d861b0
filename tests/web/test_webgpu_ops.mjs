// The GPU op cases (tests/ops/test_gpu_ops.c, as one program) on Chromium's WebGPU device, with immediates and with
// uniform buffers in their place; and every text of kernels.js is WGSL to the browser.
//   node tests/web/test_webgpu_ops.mjs gpu_kernel_selftest.wasm [NAME...]
// Compiling a kernel takes SwiftShader seconds here: without names and without TERN_FULL=1 (tests/run.sh --full) only
// the cases of norms and gathers run.
import {existsSync} from 'node:fs';
import {launch} from './browser.mjs';
import {needFiles, skip} from './node_models.mjs';
import {serve} from './serve.mjs';

const [program, ...given] = process.argv.slice(2);
const names = given.length || process.env.TERN_FULL === '1' ? given : ['norm::', 'gather'];
needFiles();
if (!program || !existsSync(program)) skip('no program is given (bindings/web/build.sh --tests builds it)');
const browser = await launch(),
  server = await serve();
let failed = 0;

async function checkTexts(page) {
  const errors = await page.evaluate(async () => {
    const {declaredBindings, Gpu, textOf} = await import('/dist/gpu.js');
    const {kernels} = await import('/dist/kernels.js');
    const {device} = await Gpu.request();
    const seen = new Set(),
      errors = [];
    for (const [name, kernel] of Object.entries(kernels))
      for (const immediates of [true, false]) {
        const code = textOf(kernel, immediates);
        if (seen.has(code) || kernel.needs.some(need => need !== 'subgroups' && need !== 'int8_dot')) continue;
        seen.add(code);
        if (declaredBindings(code).includes(undefined)) errors.push(`${name}: bindings are not 0, 1, 2 ...`);
        const {messages} = await device.createShaderModule({code}).getCompilationInfo();
        for (const m of messages) if (m.type === 'error') errors.push(`${name}, line ${m.lineNum}: ${m.message}`);
      }
    return {errors, n: seen.size};
  });
  for (const error of errors.errors) console.log(error);
  console.log(`${errors.n} texts of kernels are compiled by the browser, ${errors.errors.length} errors`);
  failed += errors.errors.length;
}

async function runOps(page, args, options) {
  const code = await page.evaluate(
    async ([args, options]) => {
      const {runProgram} = await import('/tests/wasi_page.js');
      return runProgram('/program.wasm', args, {say: text => globalThis.say(text), options});
    },
    [args, options],
  );
  if (code) failed++;
}

for (const immediates of [true, false]) {
  const page = await browser.page(server.url);
  await page.route('**/program.wasm', route => route.fulfill({path: program, contentType: 'application/wasm'}));
  await page.exposeFunction('say', text => process.stdout.write(text));
  if (immediates) await checkTexts(page);
  console.log(`== parameters in ${immediates ? 'immediates' : 'uniform buffers'}, cases: ${names.join(' ') || 'all'}`);
  await runOps(page, names.length || immediates ? names : ['gather', 'attention'], {immediates});
  await page.close();
}
await browser.close();
server.close();
process.exit(failed ? 1 : 0);
