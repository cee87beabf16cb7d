"use strict";
// Sections of the page are rendered by the server; this puts the changed ones in their places.
(() => {
  const link = document.getElementById("link");
  const say = (text) => { if (link.textContent !== text) link.textContent = text; };
  const open = () => {
    const source = new EventSource("/api/events");
    source.addEventListener("open", () => say("live"));
    source.addEventListener("section", (event) => {
      const news = JSON.parse(event.data);
      const body = document.getElementById(`${news.name}-now`);
      if (body && body.dataset.digest !== news.digest) {
        body.innerHTML = news.html;
        body.dataset.digest = news.digest;
      }
    });
    source.addEventListener("error", () => {
      say("warmset does not answer: what is shown may be old");
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 5000);
    });
  };
  open();
})();
