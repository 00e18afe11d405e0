/* What a search finds first: pages whose title or text has the word, scales before others, the Python API and its names last. */
var Scorer = {
  score: ([page, , , , found]) =>
    found + (page.startsWith("generated/scales/") ? 3 : page.startsWith("generated/api/") || page.startsWith("_modules/") ? -4 : 0),
  objNameMatch: 2,
  objPartialMatch: 1,
  objPrio: { 0: 0, 1: 0, 2: -1 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
