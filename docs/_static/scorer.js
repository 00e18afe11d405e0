/* What a search finds first: pages whose text or title has the word, and names of the Python API behind them. */
var Scorer = {
  objNameMatch: 2,
  objPartialMatch: 1,
  objPrio: {0: 0, 1: 0, 2: -1},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
