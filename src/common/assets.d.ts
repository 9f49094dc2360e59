// Files that are imported as text (`with { type: "text" }`), so that they are the same from source and in the binary.

declare module "*.example" {
  const text: string;
  export default text;
}

declare module "*.service" {
  const text: string;
  export default text;
}
