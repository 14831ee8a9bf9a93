-- How the link to the parent has done lately, and how much there is to fetch: LinkPace as JSON.
ALTER TABLE link ADD COLUMN pace TEXT;
