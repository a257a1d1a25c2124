/** Pictures that are dropped on the page, made small enough for a request. */

const SIDE = 512; // pixels; content encoders take half of it
const QUALITY = 0.9;

/** A picture file as base64, for the API, and as an address, for the page; throws if it is none. */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const small = scale === 1 ? file : await smaller(bitmap, scale);
  bitmap.close();
  return { base64: await base64(small), address: URL.createObjectURL(small) };
}

async function smaller(bitmap, scale) {
  const canvas = new OffscreenCanvas(
    Math.round(bitmap.width * scale),
    Math.round(bitmap.height * scale),
  );
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // where the picture is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}

function base64(blob) {
  const reader = new FileReader();
  return new Promise((resolve, reject) => {
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
