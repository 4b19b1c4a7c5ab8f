#!/usr/bin/env node
// forge wants a native compiler; npm has the JavaScript build of the same one.
const solc = require("solc");
if (process.argv.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else {
  process.stdout.write(solc.compile(require("fs").readFileSync(0, "utf8")));
}
