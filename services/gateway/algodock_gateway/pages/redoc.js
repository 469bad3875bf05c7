"use strict";

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const fonts = { fontFamily: colour("--text") };

Redoc.init(
  "/openapi.json",
  {
    scrollYOffset: 48, // the bar's height
    expandResponses: "200,202",
    theme: {
      breakpoints: { small: "40rem", medium: "64rem", large: "80rem" },
      colors: { primary: { main: colour("--accent") }, text: { primary: colour("--ink") } },
      sidebar: { backgroundColor: colour("--raised") },
      typography: { ...fonts, headings: fonts, code: { fontFamily: colour("--code") } },
    },
  },
  document.getElementById("document"),
);
