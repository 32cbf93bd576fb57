
"use strict";
(() => {
  const root = document.getElementById("ui");
  const store = `millrace:${location.pathname}`;
  const search = (operation, phrase) => {
    const of = operation.get("operation");
    return [operation.get("method"), operation.get("path"), of.get("operationId"), of.get("summary"), of.get("description")]
      .some((text) => text && text.toLowerCase().includes(phrase));
  };
  // The viewer's own filter knows the names of sections only.
  const Search = () => ({
    fn: {
      opsFilter: (tags, phrase) => {
        const wanted = phrase.trim().toLowerCase();
        return tags
          .map((tag, name) => name.toLowerCase().includes(wanted)
            ? tag
            : tag.set("operations", tag.get("operations").filter((operation) => search(operation, wanted))))
          .filter((tag) => tag.get("operations").size > 0);
      },
    },
  });
  // Credentials outlive a reload, not the tab.
  const keep = (change) => {
    const kept = { ...JSON.parse(sessionStorage.getItem(store) ?? "{}") };
    change(kept);
    sessionStorage.setItem(store, JSON.stringify(kept));
  };
  const Keep = () => ({
    statePlugins: {
      auth: {
        wrapActions: {
          authorize: (original) => (payload) => {
            keep((kept) => Object.assign(kept, payload));
            return original(payload);
          },
          logout: (original) => (names) => {
            keep((kept) => names.forEach((name) => delete kept[name]));
            return original(names);
          },
        },
      },
    },
  });
  const ui = SwaggerUIBundle({
    domNode: root,
    url: root.dataset.document,
    deepLinking: true,
    docExpansion: "none",
    filter: true,
    displayRequestDuration: true,
    plugins: [Search, Keep],
    onComplete: () => {
      const kept = sessionStorage.getItem(store);
      if (kept) ui.authActions.authorize(JSON.parse(kept));
      const field = document.querySelector(".operation-filter-input");
      if (field) field.placeholder = "Search operations: path, name or words";
    },
  });
})();
