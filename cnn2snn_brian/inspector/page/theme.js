// The theme, light or dark, of the page and of Bokeh's figures.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let theme = prefersDark.matches ? "dark" : "light";
function showTheme() {
  document.documentElement.dataset.theme = theme;
  element("theme").textContent = theme === "dark" ? "Light theme" : "Dark theme";
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const [text, soft, line, accent] = ["text", "soft", "line", "accent"].map(color);
  const font = "system-ui, sans-serif";
  const figures = ["raster", "rate"].map((n) => model("raster", n))
    .concat(maps.map((map) => map.figure), model("outputs", "outputs"));
  for (const figure of figures) {
    figure.outline_line_color = line;
    figure.title?.setv?.({text_color: text, text_font: font, text_font_size: "13px"});
    for (const part of [...figure.left, ...figure.below, ...figure.right, ...figure.center]) {
      if (part.type === "LinearAxis") {
        part.setv({
          axis_label_text_color: text, axis_label_text_font: font,
          axis_label_text_font_style: "normal", axis_label_text_font_size: "13px",
          major_label_text_color: soft, major_label_text_font: font,
          major_label_text_font_size: "12px",
          axis_line_color: soft, major_tick_line_color: soft, minor_tick_line_color: null,
        });
      } else if (part.type === "Grid") {
        part.setv({grid_line_color: line, grid_line_alpha: 0.6});
      } else if (part.type === "ColorBar") {
        part.setv({
          background_fill_color: null, title_text_color: text, title_text_font: font,
          title_text_font_style: "normal", title_text_font_size: "12px",
          major_label_text_color: soft, major_label_text_font: font,
          major_label_text_font_size: "12px", major_tick_line_color: soft,
        });
      } else if (part.name === "cursor") {
        part.line_color = text;
      }
    }
  }
  model("raster", "rate_line").glyph.line_color = {value: accent};
  model("raster", "trials_line").glyph.line_color = {value: text};
  model("raster", "selected_line").glyph.line_color = {value: "#e0762c"};
}
element("theme").addEventListener("click", () => {
  theme = theme === "dark" ? "light" : "dark";
  showTheme();
});
prefersDark.addEventListener("change", () => {
  theme = prefersDark.matches ? "dark" : "light";
  showTheme();
});
