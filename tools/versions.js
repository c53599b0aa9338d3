/* The versions of the book that stand beside this page's: written by tools/versions.py. */
(() => {
  const versions = []; // [{name, pages}], the newest first
  const script = document.currentScript;
  const { version, page } = script.dataset;
  if (versions.length < 2) return;
  const nav = document.createElement("nav");
  nav.className = "book-versions";
  nav.setAttribute("aria-label", "Versions of this book");
  nav.style.cssText = "font-size: 0.9rem; margin-bottom: 1rem;";
  nav.append(`This is version ${version}. Others: `);
  const others = versions.filter(({ name }) => name !== version);
  others.forEach(({ name, pages }, i) => {
    const link = document.createElement("a");
    link.href = new URL(`${name}/${pages.includes(page) ? page : "index.html"}`, script.src);
    link.textContent = name;
    nav.append(i ? ", " : "", link);
  });
  (document.querySelector("article") ?? document.body).prepend(nav);
})();
