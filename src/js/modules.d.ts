// The Worker's own Wasm, which the bundle imports as a module.
declare module '*.wasm' {
  const module: WebAssembly.Module;
  export default module;
}
