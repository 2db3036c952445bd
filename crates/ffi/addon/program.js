// node program.js ADDON DESIGN terminated|returned|exit|left
//
// Uses the addon in worker threads, one after another, that are terminated or return by themselves; or in the main
// thread, which exits while jobs run: by `process.exit`, or because nothing is left to do.
"use strict";
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

// How long jobs of workers block.
const BLOCKED = 6000;

function inMainThread(addon, design, ending) {
  require(addon).start(() => {}, design, 60_000);
  setTimeout(() => {
    console.log("the last line");
    if (ending === "exit") process.exit(0);
  }, 20);
}

async function inWorkers(addon, design, ending) {
  const blocks = design === "blocks" || design === "ungated";
  for (let round = 0; round < (blocks ? 2 : 5); round++) {
    const worker = new Worker(__filename, { workerData: { addon, design, ending } });
    const exited = new Promise((resolve) => worker.once("exit", resolve));
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    if (ending === "terminated") await worker.terminate();
    await exited;
  }
  // Now their jobs want to call back.
  if (blocks) await new Promise((resolve) => setTimeout(resolve, BLOCKED + 1000));
  console.log("the last line");
}

function worker({ addon, design, ending }) {
  require(addon).start(() => {}, design, BLOCKED);
  parentPort.postMessage("started");
  // Until it is terminated, or for a moment.
  setTimeout(() => {}, ending === "terminated" ? 60_000 : 5);
}

const [addon, design, ending] = process.argv.slice(2);
if (!isMainThread) worker(workerData);
else if (ending === "exit" || ending === "left") inMainThread(addon, design, ending);
else inWorkers(addon, design, ending);
