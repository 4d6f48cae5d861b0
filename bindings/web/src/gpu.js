// The WebGPU device of the C library: adapter and device are requested here before the module starts, and the
// imports of module "tern_gpu" (backends/webgpu/host_webgpu.h) are answered. Objects that C names by number live in
// one table. Commands are recorded as a list with bind groups made once, and encoded anew for every submit: WebGPU's
// own are used up by one.
import {constants} from './abi.js';
import {kernels, math, texts} from './kernels.js';

const {
  TERN_STATUS_OK: OK,
  TERN_STATUS_INTERNAL: INTERNAL,
  TERN_STATUS_DEVICE_LOST: DEVICE_LOST,
  TERN_STATUS_NO_DEVICE: NO_DEVICE,
  TERN_STATUS_OUT_OF_MEMORY: OUT_OF_MEMORY,
  TERN_STATUS_UNSUPPORTED: UNSUPPORTED,
} = constants;
// backends/gpu: tern__gpu_memory, TERN__GPU_HAS_*, tern__host_gpu_facts, tern__host_gpu_range
const READBACK = 3;
const HAS = {f16: 1, subgroups: 2};
const FACTS = {name: 60, driver: 188, text: 128},
  RANGE_BYTES = 24;
const IMMEDIATE_BYTES = 64,
  MOST_BINDINGS = 8,
  UNIFORM_STEP = 256, // offsets of bindings, whatever the device
  MOST_TIMESTAMPS = 4096,
  WRITE_BYTES = 1 << 25, // of one writeBuffer: more is copied in pieces
  LARGE_BYTES = 1 << 20; // buffers from here on: whether there is memory is waited for
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
];

const DECLARATION = /@group\(0\) @binding\((?:([A-Z_]+)(?: \+ )?)?(?:(\d+)u?)?\) var<storage, (read|read_write)>/g;

/** What a WGSL text binds: per binding whether it is writable. A variant may need fewer (tern__gpu_kernel.n_bindings),
 *  but for a browser every declared one is used that any variant uses. */
export function declaredBindings(code) {
  const writable = [];
  for (const [, name, offset = 0, access] of code.matchAll(DECLARATION)) {
    const base = name ? Number(new RegExp(`const ${name}: u32 = (\\d+)u`).exec(code)[1]) : 0;
    writable[base + Number(offset)] = access === 'read_write';
  }
  return writable;
}

/** The WGSL of a kernel of kernels.js; without immediates its parameters are a uniform buffer after its bindings. */
export function textOf({enables, files}, immediates) {
  const code = enables + [...math, ...files].map(file => texts[file]).join('\n');
  if (immediates) return code;
  return code.replace(/var<immediate>/g, `@group(0) @binding(${declaredBindings(code).length}) var<uniform>`);
}

/** Why there is no WebGPU device. */
export class NoGpu extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = 'NoGpu';
  }
}

/** A failure with a tern_status. */
class Failure extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Gpu {
  #objects = new Map();
  #nextObject = 1;
  #message = '';
  #kernels = new Map(); // number -> {name, nBindings, immediateBytes, writable, layout, pipeline, promise}
  #modules = new Map(); // what a text is made of -> {module, writable: of each declared binding}
  #layouts = new Map();
  #runs = new Map(); // ticket -> {done: promise, finished}
  #ticket = 0;
  #failure = null; // what the browser reported by itself, until a wait tells it
  #fillers = null;
  #lost = null;
  #waiters = new Set(); // what waits for the device, to be told of its loss

  /** The browser's best device, or NoGpu with the reason and what to try. immediates: false: parameters go through
   *  uniform buffers even where the browser could do better. */
  static async request({immediates = true} = {}) {
    if (!WebAssembly.Suspending || !WebAssembly.promising)
      throw new NoGpu(
        'this browser has no WebAssembly.Suspending (JavaScript Promise Integration), which the WebGPU device waits ' +
          "with: use Chrome or Edge 137 or newer, or device: 'wasm'",
      );
    if (!globalThis.navigator?.gpu)
      throw new NoGpu(
        'there is no navigator.gpu: WebGPU needs a page served over https or from localhost, and a browser that has ' +
          "it in workers; or use device: 'wasm'",
      );
    const adapter = await navigator.gpu.requestAdapter({powerPreference: 'high-performance'});
    if (!adapter)
      throw new NoGpu(
        "the browser gives no WebGPU adapter (chrome://gpu says why; a driver may be blocked); use device: 'wasm'",
      );
    const has = (name, use) => (use && adapter.features.has(name) ? [name] : []);
    const wants = need => Object.values(kernels).some(k => k.needs.includes(need));
    immediates &&=
      adapter.limits.maxImmediateSize >= IMMEDIATE_BYTES &&
      !!globalThis.GPUComputePassEncoder?.prototype.setImmediates &&
      navigator.gpu.wgslLanguageFeatures.has('immediate_address_space');
    const requiredLimits = Object.fromEntries(LIMITS.map(name => [name, adapter.limits[name]]));
    requiredLimits.minStorageBufferOffsetAlignment = adapter.limits.minStorageBufferOffsetAlignment;
    if (immediates) requiredLimits.maxImmediateSize = IMMEDIATE_BYTES;
    try {
      const device = await adapter.requestDevice({
        requiredLimits,
        requiredFeatures: [
          ...has('subgroups', wants('subgroups')),
          ...has('shader-f16', wants('f16')),
          ...has('timestamp-query', true),
        ],
      });
      return new Gpu(adapter, device, immediates);
    } catch (error) {
      throw new NoGpu(`the WebGPU device was refused: ${error.message}; use device: 'wasm'`, {cause: error});
    }
  }

  constructor(adapter, device, immediates) {
    ((this.device = device), (this.immediates = immediates));
    const {vendor, architecture, description, device: model} = adapter.info;
    this.name = description || [vendor, architecture, model].filter(Boolean).join(' ') || 'WebGPU adapter';
    this.driver = [vendor, architecture, model].filter(Boolean).join(' ');
    this.subgroups = device.features.has('subgroups')
      ? [adapter.info.subgroupMinSize ?? 4, adapter.info.subgroupMaxSize ?? 128]
      : [0, 0];
    /** The host's CPU plays the device. */
    this.software =
      !!(adapter.info.isFallbackAdapter ?? adapter.isFallbackAdapter) ||
      /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${this.name} ${this.driver}`);
    device.lost.then(info => {
      this.#lost = `the device was lost (${info.reason}): ${info.message || 'the browser does not say why'}`;
      for (const tell of this.#waiters) tell();
    });
    device.addEventListener('uncapturederror', event => {
      event.preventDefault();
      const {error} = event;
      this.#failure ??=
        error instanceof GPUOutOfMemoryError
          ? new Failure(OUT_OF_MEMORY, `the device has no memory left: ${error.message}`)
          : new Failure(INTERNAL, error.message);
    });
  }

  // ---- the imports ----

  /** memory: {view(), bytes(at, size), text(at, size)} of the module. */
  imports(memory) {
    this.memory = memory;
    const calls = {
      open: (which, size, out) => this.#open(which ? memory.text(which, size) : '', out),
      buffer: (kind, size, host, out) => this.#createBuffer(kind, size, host, out),
      write: (buffer, offset, data, size) => this.#write(this.#objects.get(buffer), offset, data >>> 0, size >>> 0),
      compile: (kernel, name, nBindings, immediateBytes) =>
        this.#compile(kernel, this.memory.string(name), nBindings, immediateBytes),
      compiled: kernel => this.#unlessLost(this.#kernels.get(kernel).promise),
      dispatch: (commands, kernel, ranges, immediates, x, y, z) =>
        this.#dispatch(this.#objects.get(commands), this.#kernels.get(kernel), ranges >>> 0, immediates >>> 0, [
          x,
          y,
          z,
        ]),
      copy: (commands, from, fromAt, to, toAt, size) => {
        const [source, target] = [this.#objects.get(from), this.#objects.get(to)];
        this.#objects.get(commands).steps.push({copy: [source.buffer, fromAt, target.buffer, toAt, size]});
        if (target.kind === READBACK) this.#objects.get(commands).readbacks.add(target);
      },
      finish: commands => this.#finish(this.#objects.get(commands)),
      submit: (commands, out) => {
        const ticket = this.#submit(this.#objects.get(commands));
        memory.view().setFloat64(out >>> 0, ticket, true);
      },
      wait: ticket => this.#wait(ticket),
    };
    const imports = Object.fromEntries(Object.entries(calls).map(([name, fn]) => [name, this.#guarded(fn)]));
    const finished = this.#guarded(ticket => this.#settle(ticket));
    for (const name of ['buffer', 'compiled', 'wait']) imports[name] = new WebAssembly.Suspending(imports[name]);
    return {
      ...imports,
      error: (at, capacity) => this.#putText(at >>> 0, this.#message, capacity),
      buffer_destroy: id => {
        const entry = this.#take(id);
        entry.destroyed = true;
        entry.buffer.destroy();
      },
      commands: () => this.#put({steps: [], readbacks: new Set(), profile: false}),
      profile: (id, on) => {
        this.#objects.get(id).profile = !!on && this.device.features.has('timestamp-query');
      },
      commands_destroy: id => {
        const {uniforms, timers} = this.#take(id);
        uniforms?.destroy();
        if (timers) [timers.set, timers.resolved, timers.mapped].forEach(part => part.destroy());
      },
      poll: ticket => (this.#lost || this.#upTo(ticket).every(([, run]) => run.finished) ? finished(ticket) : -1),
      timestamps: (id, out, capacity) => {
        const {times = []} = this.#objects.get(id),
          n = Math.min(times.length, capacity),
          view = memory.view();
        for (let i = 0; i < n; i++) view.setBigUint64((out >>> 0) + 8 * i, times[i], true);
        return n;
      },
    };
  }

  /** Makes a status of what fn throws; a promise stays one. */
  #guarded(fn) {
    const failed = error => {
      this.#message = error.message;
      return error.status ?? INTERNAL;
    };
    return (...args) => {
      try {
        const result = fn(...args);
        return result instanceof Promise ? result.then(() => OK, failed) : OK;
      } catch (error) {
        return failed(error);
      }
    };
  }

  #put(object) {
    this.#objects.set(this.#nextObject, object);
    return this.#nextObject++;
  }
  #take(id) {
    const object = this.#objects.get(id);
    this.#objects.delete(id);
    return object;
  }

  #putText(at, text, capacity) {
    const encoded = new TextEncoder().encode(text).subarray(0, capacity - 1);
    this.memory.bytes(at, encoded.length + 1).set([...encoded, 0]);
  }

  #alive() {
    if (this.#lost) throw new Failure(DEVICE_LOST, `${this.#lost}; open the pipeline again, or use device: 'wasm'`);
  }

  /** What the promise says, unless the device is lost before. */
  #unlessLost(promise) {
    return new Promise((resolve, reject) => {
      const tell = () => resolve(undefined);
      this.#waiters.add(tell);
      promise.then(resolve, reject).finally(() => this.#waiters.delete(tell));
      if (this.#lost) tell();
    }).finally(() => this.#alive());
  }

  #open(which, out) {
    this.#alive();
    if (which && !this.name.toLowerCase().includes(which.toLowerCase()))
      throw new Failure(NO_DEVICE, `no WebGPU device is called "${which}"; there is "${this.name}"`);
    const {limits} = this.device,
      view = this.memory.view();
    view.setFloat64(out, limits.maxBufferSize, true);
    view.setFloat64(out + 8, limits.maxStorageBufferBindingSize, true);
    const features = (this.device.features.has('shader-f16') ? HAS.f16 : 0) | (this.subgroups[1] ? HAS.subgroups : 0);
    [
      limits.minStorageBufferOffsetAlignment,
      limits.maxComputeWorkgroupsPerDimension,
      limits.maxComputeInvocationsPerWorkgroup,
      limits.maxComputeWorkgroupSizeX,
      limits.maxComputeWorkgroupSizeY,
      limits.maxComputeWorkgroupSizeZ,
      limits.maxComputeWorkgroupStorageSize,
      ...this.subgroups,
      features,
      this.software ? 1 : 0,
    ].forEach((value, i) => view.setUint32(out + 16 + 4 * i, value, true));
    this.#putText(out + FACTS.name, this.name, FACTS.text);
    this.#putText(out + FACTS.driver, this.driver, FACTS.text);
  }

  // ---- buffers ----

  #createBuffer(kind, size, host, out) {
    this.#alive();
    const usage =
      kind === READBACK
        ? GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST
        : GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    this.device.pushErrorScope('out-of-memory');
    const buffer = this.device.createBuffer({size, usage});
    const failure = this.device.popErrorScope().then(error => {
      if (error) throw new Failure(OUT_OF_MEMORY, `a buffer of ${size} bytes could not be had: ${error.message}`);
    });
    const keep = () =>
      this.memory
        .view()
        .setInt32(out >>> 0, this.#put({kind, buffer, size, host: host >>> 0, destroyed: false}), true);
    if (size >= LARGE_BYTES) return this.#unlessLost(failure).then(keep);
    failure.catch(error => (this.#failure ??= error));
    keep();
  }

  #write({buffer}, offset, data, size) {
    this.#alive();
    for (let at = 0; at < size; at += WRITE_BYTES)
      this.device.queue.writeBuffer(
        buffer,
        offset + at,
        this.memory.bytes(data + at, Math.min(WRITE_BYTES, size - at)),
      );
  }

  // ---- kernels ----

  #layout(writable, immediateBytes) {
    const key = `${writable} ${immediateBytes}`;
    if (!this.#layouts.has(key)) {
      const visibility = GPUShaderStage.COMPUTE;
      const entries = writable.map((w, binding) => ({
        binding,
        visibility,
        buffer: {type: w ? 'storage' : 'read-only-storage'},
      }));
      if (immediateBytes && !this.immediates)
        entries.push({binding: writable.length, visibility, buffer: {type: 'uniform'}});
      const group = this.device.createBindGroupLayout({entries});
      const immediates = immediateBytes && this.immediates ? {immediateSize: (immediateBytes + 3) & ~3} : {};
      const pipeline = this.device.createPipelineLayout({bindGroupLayouts: [group], ...immediates});
      this.#layouts.set(key, {group, pipeline});
    }
    return this.#layouts.get(key);
  }

  /** Variants of a kernel share the text; what tells them apart are overrides. */
  #module(source) {
    const key = `${source.enables}|${source.files}`;
    if (!this.#modules.has(key)) {
      const code = textOf(source, this.immediates),
        module = this.device.createShaderModule({label: source.files.at(-1), code});
      this.#modules.set(key, {module, writable: declaredBindings(code)});
    }
    return this.#modules.get(key);
  }

  /** What is bound where a variant needs no binding that its text declares. */
  #filler(binding, writable) {
    this.#fillers ??= [0, 1].map(() =>
      this.device.createBuffer({size: MOST_BINDINGS * UNIFORM_STEP, usage: GPUBufferUsage.STORAGE}),
    );
    return {buffer: this.#fillers[writable ? 1 : 0], offset: binding * UNIFORM_STEP, size: UNIFORM_STEP};
  }

  #compile(number, name, nBindings, immediateBytes) {
    this.#alive();
    const source = kernels[name];
    if (!source) throw new Failure(INTERNAL, `kernels.js has no kernel '${name}': it is not of this build`);
    const {module, writable} = this.#module(source),
      layout = this.#layout(writable, immediateBytes);
    const kernel = {name, nBindings, immediateBytes, writable, layout: layout.group, pipeline: null};
    kernel.promise = this.device
      .createComputePipelineAsync({
        label: name,
        layout: layout.pipeline,
        compute: {module, entryPoint: source.entry, constants: source.overrides},
      })
      .then(
        pipeline => {
          kernel.pipeline = pipeline;
        },
        async error => {
          const {messages} = await module.getCompilationInfo();
          const {message = error.message, lineNum = 0} = messages.find(m => m.type === 'error') ?? {};
          const where = lineNum ? `, line ${lineNum}` : '';
          throw new Failure(UNSUPPORTED, `the browser refuses kernel ${name}${where}: ${message}`);
        },
      );
    kernel.promise.catch(() => {});
    this.#kernels.set(number, kernel);
  }

  // ---- commands ----

  #dispatch({steps}, kernel, ranges, immediates, groups) {
    const view = this.memory.view();
    const entries = Array.from({length: kernel.nBindings}, (_, binding) => {
      const at = ranges + RANGE_BYTES * binding;
      const {buffer} = this.#objects.get(view.getInt32(at + 16, true));
      return {binding, resource: {buffer, offset: view.getFloat64(at, true), size: view.getFloat64(at + 8, true)}};
    });
    for (let i = kernel.nBindings; i < kernel.writable.length; i++)
      entries.push({binding: i, resource: this.#filler(i, kernel.writable[i])});
    const bytes = kernel.immediateBytes && this.memory.bytes(immediates, (kernel.immediateBytes + 3) & ~3).slice();
    steps.push({kernel, entries, immediates: bytes, groups});
  }

  /** Makes the bind groups, and the buffer of parameters where there are no immediates. */
  #finish(commands) {
    this.#alive();
    const dispatches = commands.steps.filter(step => step.kernel);
    if (!this.immediates && dispatches.some(step => step.immediates)) {
      commands.uniforms = this.device.createBuffer({
        size: dispatches.length * UNIFORM_STEP,
        usage: GPUBufferUsage.UNIFORM,
        mappedAtCreation: true,
      });
      const mapped = new Uint8Array(commands.uniforms.getMappedRange());
      dispatches.forEach(({kernel, entries, immediates}, i) => {
        if (!immediates) return;
        mapped.set(immediates, i * UNIFORM_STEP);
        const resource = {buffer: commands.uniforms, offset: i * UNIFORM_STEP, size: IMMEDIATE_BYTES};
        entries.push({binding: kernel.writable.length, resource});
      });
      commands.uniforms.unmap();
    }
    for (const step of dispatches) {
      const {kernel, entries} = step;
      step.group = this.device.createBindGroup({label: kernel.name, layout: kernel.layout, entries});
      delete step.entries;
    }
    const count = 2 * dispatches.length;
    if (commands.profile && count && count <= MOST_TIMESTAMPS) {
      const buffer = usage => this.device.createBuffer({size: 8 * count, usage});
      commands.timers = {
        count,
        set: this.device.createQuerySet({type: 'timestamp', count}),
        resolved: buffer(GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC),
        mapped: buffer(GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
      };
    }
  }

  #encode({steps, timers}) {
    const encoder = this.device.createCommandEncoder();
    let pass = null,
      bound = null,
      n = 0;
    const end = () => {
      pass?.end();
      pass = bound = null;
    };
    for (const step of steps) {
      if (step.copy) {
        end();
        encoder.copyBufferToBuffer(...step.copy);
        continue;
      }
      const {kernel, group, immediates, groups} = step;
      if (timers) {
        end();
        pass = encoder.beginComputePass({
          timestampWrites: {querySet: timers.set, beginningOfPassWriteIndex: n++, endOfPassWriteIndex: n++},
        });
      }
      pass ??= encoder.beginComputePass();
      if (bound !== kernel) pass.setPipeline(kernel.pipeline);
      bound = kernel;
      pass.setBindGroup(0, group);
      if (immediates && this.immediates) pass.setImmediates(0, immediates);
      pass.dispatchWorkgroups(...groups);
    }
    end();
    if (timers) {
      encoder.resolveQuerySet(timers.set, 0, timers.count, timers.resolved, 0);
      encoder.copyBufferToBuffer(timers.resolved, 0, timers.mapped, 0, 8 * timers.count);
    }
    return encoder.finish();
  }

  #submit(commands) {
    this.#alive();
    const {queue} = this.device,
      readbacks = [...commands.readbacks];
    for (const target of readbacks) if (target.buffer.mapState !== 'unmapped') target.buffer.unmap();
    let refused;
    this.device.pushErrorScope('validation');
    try {
      queue.submit([this.#encode(commands)]);
    } finally {
      refused = this.device.popErrorScope();
    }
    const mapped = [...readbacks.map(target => target.buffer), ...(commands.timers ? [commands.timers.mapped] : [])];
    const ended = mapped.length
      ? Promise.all(mapped.map(buffer => buffer.mapAsync(GPUMapMode.READ)))
      : queue.onSubmittedWorkDone();
    const run = {finished: false};
    run.done = Promise.all([refused, ended]).then(([error]) => {
      if (error) throw new Failure(INTERNAL, error.message);
      for (const target of readbacks) this.#bringBack(target);
      if (commands.timers) this.#readTimes(commands);
    });
    run.done = run.done
      .catch(error => {
        this.#failure ??= error.status ? error : new Failure(INTERNAL, error.message);
      })
      .then(() => {
        run.finished = true;
      });
    this.#runs.set(++this.#ticket, run);
    return this.#ticket;
  }

  #bringBack({buffer, size, host, destroyed}) {
    if (destroyed) return;
    this.memory.bytes(host, size).set(new Uint8Array(buffer.getMappedRange()));
    buffer.unmap();
  }

  #readTimes(commands) {
    const {mapped, count} = commands.timers,
      ticks = new BigUint64Array(mapped.getMappedRange());
    commands.times = Array.from({length: count / 2}, (_, i) => ticks[2 * i + 1] - ticks[2 * i]);
    mapped.unmap();
  }

  #upTo(ticket) {
    return [...this.#runs].filter(([number]) => number <= ticket);
  }

  async #wait(ticket) {
    await this.#unlessLost(Promise.all(this.#upTo(ticket).map(([, run]) => run.done)));
    this.#settle(ticket);
  }

  /** After the ticket is done: throws what went wrong until then. */
  #settle(ticket) {
    for (const [number] of this.#upTo(ticket)) this.#runs.delete(number);
    this.#alive();
    const failure = this.#failure;
    this.#failure = null;
    if (failure) throw failure;
  }

  /** Gives the device back. */
  destroy() {
    this.device.destroy();
  }
}
