"""The choices of the group `initializer`: each fills a weight in place. Read `distributions`."""
