// Addresses of NATS servers as people write them.

/** One or more of them, with commas between; undefined where one is none. The scheme may be missing. */
export function parseNatsUrls(text: string): URL[] | undefined {
  const urls = text.split(",").map((part) => parseUrl(part.trim()));
  return urls.every((url) => url !== undefined) ? urls : undefined;
}

function parseUrl(text: string): URL | undefined {
  try {
    const url = new URL(text.includes("://") ? text : `nats://${text}`);
    return (url.protocol === "nats:" || url.protocol === "tls:") && url.hostname !== "" ? url : undefined;
  } catch {
    return undefined;
  }
}
