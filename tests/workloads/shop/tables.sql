CREATE TABLE prices (sku text PRIMARY KEY, price int, appraised bool DEFAULT false);
INSERT INTO prices (sku, price) VALUES ('tea', 400), ('kettle', 3900), ('cup', 700), ('unicorn', 99900);
INSERT INTO prices VALUES ('vase', NULL, true);
CREATE TABLE appraisals (sku text, value int);
INSERT INTO appraisals VALUES ('vase', 12000), ('vase', 5000);
CREATE TABLE stock (sku text PRIMARY KEY, amount int);
INSERT INTO stock VALUES ('tea', 1000000000), ('kettle', 1000000000), ('cup', 1000000000), ('vase', 1000000000), ('unicorn', 0);
CREATE TABLE reservations (sku text, quantity int);
CREATE TABLE shipments (order_id uuid, sku text, quantity int);
