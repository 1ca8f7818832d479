// Many points at once: one pass over a pixel buffer and one putImageData, faster than any path or WebGL without a GPU.

/** A colour such as #1f5a96 as a pixel of a Uint32Array (little-endian: A B G R). */
export function pixel(hex, alpha = 255) {
  const value = Number.parseInt(hex.slice(1), 16);
  return ((alpha << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

export class Raster {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.width = this.height = 0;
  }

  resize(width, height) {
    if (width === this.width && height === this.height) return;
    this.width = this.canvas.width = Math.max(1, width);
    this.height = this.canvas.height = Math.max(1, height);
    this.image = this.context.createImageData(this.width, this.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  clear(colour) {
    this.pixels.fill(colour);
  }

  /** Squares of `size` pixels. xs, ys: Float32Array in data units; view: {scale, x, y} of data to pixels; colours: Uint32Array of one each, 0 leaves out. */
  squares(xs, ys, colours, size, { scale, x: dx, y: dy }) {
    const { pixels, width, height } = this;
    const half = size >> 1;
    for (let i = 0; i < xs.length; i++) {
      const colour = colours[i];
      if (colour === 0) continue;
      const left = (xs[i] * scale + dx - half) | 0, top = (dy - ys[i] * scale - half) | 0;
      if (left < 0 || top < 0 || left + size > width || top + size > height) continue;
      for (let row = top * width + left, end = row + size * width; row < end; row += width) {
        for (let at = row; at < row + size; at++) pixels[at] = colour;
      }
    }
  }

  /** Discs with an edge of one pixel, the same way; radius in pixels. */
  discs(xs, ys, colours, radius, edge, { scale, x: dx, y: dy }) {
    const { pixels, width, height } = this;
    const outer = disc(radius), inner = disc(radius - 1);
    for (let i = 0; i < xs.length; i++) {
      const colour = colours[i];
      if (colour === 0) continue;
      const cx = Math.round(xs[i] * scale + dx), cy = Math.round(dy - ys[i] * scale);
      if (cx < radius || cy < radius || cx + radius >= width || cy + radius >= height) continue;
      for (let row = -radius; row <= radius; row++) {
        const middle = (cy + row) * width + cx, span = outer[row + radius];
        const filled = row > -radius && row < radius ? inner[row + radius - 1] : -1;
        for (let at = middle - span; at <= middle + span; at++) pixels[at] = at >= middle - filled && at <= middle + filled ? colour : edge;
      }
    }
  }

  show() {
    this.context.putImageData(this.image, 0, 0);
  }
}

/** Half widths of the rows of a disc. */
function disc(radius) {
  return Int32Array.from({ length: 2 * radius + 1 }, (_, row) => Math.round(Math.sqrt(Math.max(0, (radius + 0.35) ** 2 - (row - radius) ** 2))));
}
