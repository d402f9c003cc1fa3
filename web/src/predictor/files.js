// What a .tflite file says of itself: the members of the zip archive that stands behind the model.

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/** {labels: [names], metadata: {...}} of the bytes of a file; both empty where it has none. */
export function notes(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const members = {};
  let end = bytes.length - 22;
  while (end >= Math.max(0, bytes.length - 65557) && view.getUint32(end, true) !== END) end--;
  if (end >= 0 && view.getUint32(end, true) === END) {
    const count = view.getUint16(end + 10, true);
    const size = view.getUint32(end + 12, true);
    const directory = end - size; // counted from the end: what stands before the archive does not matter
    const shift = directory - view.getUint32(end + 16, true);
    for (let entry = 0, at = directory; entry < count && view.getUint32(at, true) === ENTRY; entry++) {
      const stored = view.getUint16(at + 10, true) === 0;
      const length = view.getUint32(at + 24, true);
      const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
      const local = shift + view.getUint32(at + 42, true);
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      const text = (from, long) => new TextDecoder().decode(bytes.subarray(from, from + long));
      if (stored) members[text(at + 46, name)] = text(start, length);
      at += 46 + name + extra + comment;
    }
  }
  return {
    labels: (members["labels.txt"] ?? "").split("\n").filter(Boolean),
    metadata: JSON.parse(members["metadata.json"] || "{}"),
  };
}
