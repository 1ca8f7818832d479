// ReDoc on our document, with the fonts of this machine.
const fonts = "system-ui, sans-serif";
Redoc.init(
  "openapi.json",
  {
    hideDownloadButton: false,
    theme: { typography: { fontFamily: fonts, headings: { fontFamily: fonts }, code: { fontFamily: "ui-monospace, monospace" } } },
  },
  document.getElementById("redoc"),
);
